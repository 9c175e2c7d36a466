"use strict";

const found = (id) => document.getElementById(id);

const made = (tag, text, parent) => {
  const element = document.createElement(tag);
  element.textContent = text;
  parent.append(element);
  return element;
};

const describe = async () => {
  const api = await (await fetch("docs.json")).json();
  found("title").textContent = `${api.info.title} ${api.info.version}`;
  found("description").textContent = api.info.description;
  found("key").hidden = api.security.length === 0;
  const topK = api.paths["/classify"].post.parameters[0].schema;
  const number = found("form").elements.top_k;
  number.max = topK.maximum;
  number.value = topK.default;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      made("dt", `${method.toUpperCase()} ${path}`, found("paths"));
      made("dd", [operation.summary, operation.description].filter(Boolean).join(". "), found("paths"));
    }
  }
};

const show = (prediction, file) => {
  const item = made("li", "", found("results"));
  const picture = made("img", "", item);
  picture.alt = ""; // its name stands beside it, also where a browser cannot show the file
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
  picture.src = URL.createObjectURL(file);
  const text = made("div", "", item);
  made("strong", file.name, text);
  if (prediction.error) {
    made("p", prediction.error, text).className = "error";
    return;
  }
  if (prediction.unknown) {
    made("p", "It may show nothing that the model knows.", text);
  }
  const table = made("table", "", text);
  for (const { label, probability } of prediction.top) {
    const row = made("tr", "", table);
    made("td", label, row);
    made("meter", "", made("td", "", row)).value = probability;
    made("td", `${(100 * probability).toFixed(1)} %`, row);
  }
};

const submit = async (event) => {
  event.preventDefault();
  const form = event.target;
  const files = [...form.elements.images.files];
  const key = found("key").querySelector("input").value;
  found("results").replaceChildren();
  found("status").textContent = "…";
  try {
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    const answer = await fetch("classify", { method: "POST", body: new FormData(form), headers });
    const body = await answer.json();
    found("status").textContent = answer.ok ? `answered by ${body.engine}` : `${body.status}: ${body.detail}`;
    (body.predictions ?? body.errors ?? []).forEach((prediction, place) => show(prediction, files[place]));
  } catch (error) {
    found("status").textContent = `the server cannot be reached (${error.message})`;
  }
};

found("form").addEventListener("submit", submit);
describe();
