"""A Streamlit page on a model of this machine.

    pip install streamlit epitome-onnx
    streamlit run examples/streamlit_local.py -- models/mine
"""

import sys
import time

import streamlit as st

from epitome_onnx import Summarizer
from epitome_onnx.errors import EpitomeError


@st.cache_resource
def summarizer(model):
    return Summarizer(model)


def main(model="models/demo"):
    st.title("Summarize")
    text = st.text_area("Text", height=300)
    length_penalty = st.slider(
        "Length", 0.5, 1.5, 1.0, 0.1, help="length_penalty of the beam search"
    )
    num_beams = st.select_slider("Beams", [1, 2, 4, 8], 4)
    if st.button("Summarize", disabled=not text.strip()):
        start = time.perf_counter()
        try:
            summary = summarizer(model)(text, num_beams=num_beams, length_penalty=length_penalty)
        except EpitomeError as error:
            st.error(str(error))
            return
        st.write(summary.text)
        st.caption(f"{time.perf_counter() - start:.2f} s")
        if summary.truncated:
            st.caption("The text is longer than the model reads, and was cut.")


main(*sys.argv[1:])
