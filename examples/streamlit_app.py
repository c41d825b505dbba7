"""A Streamlit page over boto3, as in the tutorial, on an endpoint in AWS or on this machine.

    pip install streamlit boto3
    epitome serve --model MODEL &
    AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://127.0.0.1:8080 AWS_REGION=us-east-1 \\
        AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local streamlit run examples/streamlit_app.py

Leave out the variables, and set ENDPOINT_NAME, for an endpoint of your AWS account.
"""

import json
import os
import time

import boto3
import streamlit as st

ENDPOINT = os.environ.get("ENDPOINT_NAME", "epitome")


@st.cache_resource
def runtime():
    return boto3.client("sagemaker-runtime")


def summarize(text, length_penalty, num_beams):
    parameters = {"length_penalty": length_penalty, "num_beams": num_beams}
    response = runtime().invoke_endpoint(
        EndpointName=ENDPOINT,
        ContentType="application/json",
        Accept="application/json",
        Body=json.dumps({"inputs": text, "parameters": parameters}),
    )
    answer = json.loads(response["Body"].read())
    answer = answer[0] if isinstance(answer, list) else answer
    return answer.get("generated_text") or answer.get("summary_text")


def main():
    st.title("Summarize")
    text = st.text_area("Text", height=300)
    length_penalty = st.slider(
        "Length", 0.5, 1.5, 1.0, 0.1, help="length_penalty of the beam search"
    )
    num_beams = st.select_slider("Beams", [1, 2, 4, 8], 4)
    if st.button("Summarize", disabled=not text.strip()):
        start = time.perf_counter()
        try:
            summary = summarize(text, length_penalty, num_beams)
        except runtime().exceptions.ModelError as error:
            st.error(error.response["OriginalMessage"])
            return
        st.write(summary)
        st.caption(f"{time.perf_counter() - start:.2f} s")


main()
