/** The settings of one summary: its model, its length, and generation parameters. */

import { button, make } from "./dom.js";

/** transformers' default, for endpoints that do not tell their own. */
const LENGTH_PENALTY = 1;
/** Difference between the length_penalty of short or long summaries and the model's own. */
const PENALTY_STEP = 0.5;
/** Explains that length_penalty needs several beams. */
const BEAMS_TO_WEIGH = 4;

const LENGTHS = ["short", "medium", "long"];
const FIELDS = [
  { name: "length_penalty", label: "length_penalty", step: 0.1 },
  { name: "num_beams", label: "Beams", step: 1, min: 1, max: 32 },
  { name: "min_length", label: "Fewest tokens", step: 1, min: 0 },
  { name: "max_length", label: "Most tokens", step: 1, min: 1 },
];

/** Parameters of a length. Medium uses the model's own. */
export function parametersOfLength(length, defaults) {
  if (length === "medium") {
    return {};
  }
  const step = length === "short" ? -PENALTY_STEP : PENALTY_STEP;
  const penalty = (defaults.length_penalty ?? LENGTH_PENALTY) + step;
  const parameters = { length_penalty: Number(penalty.toFixed(2)) };
  if ((defaults.num_beams ?? 1) === 1) {
    parameters.num_beams = BEAMS_TO_WEIGH;
  }
  return parameters;
}

export class Settings {
  /** Fills a fieldset; `changed` is called whenever the user changes something. */
  constructor(fieldset, changed) {
    this.column = fieldset.dataset.column;
    this.fieldset = fieldset;
    this.changed = changed;
    this.models = [];
    this.defaults = {};
    this.touched = new Set();
    this.#build();
  }

  #build() {
    const id = (name) => `${name}-${this.column}`;
    const letter = this.column.toUpperCase();
    this.modelSelect = make("select", { id: id("model") });
    this.modelRow = make("p", { class: "inline", hidden: true },
      make("label", { for: id("model") }, "Model"), " ", this.modelSelect);
    this.lengths = make("div", { class: "lengths", role: "radiogroup", "aria-label": "Length" });
    for (const length of LENGTHS) {
      const attributes = { type: "radio", name: id("length"), id: id(length), value: length };
      this.lengths.append(make("span", {},
        make("input", { ...attributes, checked: length === "medium" }),
        make("label", { for: id(length) }, length[0].toUpperCase() + length.slice(1))));
    }
    this.lengthHint = make("p", { class: "hint" });
    this.inputs = {};
    const rows = FIELDS.map(({ name, label, ...limits }) => {
      const attributes = { type: "number", id: id(name), inputmode: "decimal", ...limits };
      const input = make("input", attributes);
      this.inputs[name] = input;
      return make("div", { class: "field" }, make("label", { for: id(name) }, label), input);
    });
    this.reset = button("Back to the model’s own", () => this.#restore(), { hidden: true });
    this.fieldset.append(
      make("legend", {}, "Summary ", make("span", { class: "letter" }, letter)),
      this.modelRow,
      this.lengths,
      this.lengthHint,
      make("details", {}, make("summary", {}, "Settings"),
        make("div", { class: "fields" }, ...rows),
        make("p", { class: "hint" }, "What you change is sent; the rest is the model’s own."),
        this.reset),
    );
    this.modelSelect.addEventListener("change", () => {
      this.#takeDefaults();
      this.changed();
    });
    this.lengths.addEventListener("change", () => this.#show());
    // An empty field shows the model's own value.
    this.fieldset.addEventListener("change", () => this.#show(false));
    for (const [name, input] of Object.entries(this.inputs)) {
      input.addEventListener("input", () => {
        this.touched[input.value === "" ? "delete" : "add"](name);
        this.#show();
      });
    }
  }

  /** Offers these models; the one at `preferred` is chosen. */
  offer(models, preferred) {
    this.models = models;
    this.modelSelect.replaceChildren(...models.map(({ name }) => new Option(name, name)));
    this.modelSelect.selectedIndex = Math.min(preferred, models.length - 1);
    this.modelRow.hidden = models.length < 2;
    this.#takeDefaults();
  }

  get model() {
    return this.models[Math.max(0, this.modelSelect.selectedIndex)];
  }

  get length() {
    return this.lengths.querySelector(":checked").value;
  }

  /** The parameters to send: those of the length, overridden by changed fields. */
  get parameters() {
    const parameters = parametersOfLength(this.length, this.defaults);
    for (const name of this.touched) {
      parameters[name] = Number(this.inputs[name].value);
    }
    return parameters;
  }

  /** Beams of the search; null if an endpoint does not tell them. */
  get beams() {
    return this.parameters.num_beams ?? this.defaults.num_beams ?? (this.isKnown ? 1 : null);
  }

  /** Whether the model's own settings are known. */
  get isKnown() {
    return this.model?.generation_defaults !== undefined;
  }

  /** Restores the settings of an earlier summary. */
  restore({ model, length, touched }) {
    const index = this.models.findIndex(({ name }) => name === model);
    if (index >= 0) {
      this.modelSelect.selectedIndex = index;
    }
    this.#takeDefaults();
    const known = LENGTHS.includes(length) ? length : "medium";
    this.lengths.querySelector(`[value="${known}"]`).checked = true;
    for (const [name, value] of Object.entries(touched ?? {})) {
      if (this.inputs[name]) {
        this.inputs[name].value = value;
        this.touched.add(name);
      }
    }
    this.#show(false);
  }

  /** The settings in the form that `restore` takes. */
  save() {
    const values = [...this.touched].map((name) => [name, this.inputs[name].value]);
    const touched = Object.fromEntries(values);
    return { model: this.model?.name, length: this.length, touched };
  }

  #takeDefaults() {
    this.defaults = this.model?.generation_defaults ?? {};
    this.#restore(false);
  }

  #restore(tell = true) {
    this.touched.clear();
    this.#show(tell);
  }

  #show(tell = true) {
    const asked = parametersOfLength(this.length, this.defaults);
    const sent = Object.entries(asked).filter(([name]) => !this.touched.has(name));
    this.lengthHint.textContent = this.length === "medium"
      ? "The model’s own settings."
      : `Asks for ${sent.map(([name, value]) => `${name} ${value}`).join(", ") || "nothing more"}.`;
    this.reset.hidden = this.touched.size === 0;
    for (const [name, input] of Object.entries(this.inputs)) {
      const isTouched = this.touched.has(name);
      input.classList.toggle("touched", isTouched);
      if (!isTouched && input !== document.activeElement) {
        input.value = asked[name] ?? this.defaults[name] ?? "";
        input.placeholder = "model’s own";
      }
    }
    if (tell) {
      this.changed();
    }
  }
}
