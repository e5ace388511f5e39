// Shows the API of the server that this page comes from. Where the server has keys, its description needs one, too.

const reader = document.querySelector("rapi-doc");
const form = document.querySelector("form");
const problem = document.querySelector("#problem");

async function show(key) {
  const response = await fetch("openapi.json", key ? { headers: { Authorization: `Bearer ${key}` } } : {});
  const answer = await response.json();
  form.hidden = response.ok;
  if (!response.ok) {
    problem.textContent = answer.error.message;
    return;
  }
  answer.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  await reader.loadSpec(answer);
  if (key) {
    reader.setApiKey("bearer", key);
  }
  reader.setAttribute("allow-try", answer["x-trial-calls"]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(form.elements.key.value);
});
await customElements.whenDefined("rapi-doc");
await show("");
