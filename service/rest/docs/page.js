"use strict";
// The page is whole without this: it adds a filter, copying, and sending of calls that change nothing.

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function addFilter() {
  const nav = document.querySelector("nav");
  const input = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const told = make("span", { role: "status" });
  nav.prepend(make("label", {}, "Filter", input, told));
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const group of nav.querySelectorAll(".group")) {
      const whole = group.querySelector(".head").textContent.toLowerCase().includes(wanted);
      let some = false;
      for (const item of group.querySelectorAll("li")) {
        item.hidden = !whole && !item.textContent.toLowerCase().includes(wanted);
        some ||= !item.hidden;
        shown += item.hidden ? 0 : 1;
      }
      group.hidden = !some;
    }
    told.textContent = wanted ? `${shown} found` : "";
  });
}

function addCopying() {
  for (const pre of document.querySelectorAll(".code pre")) {
    const caption = pre.previousElementSibling;
    const button = make("button", { type: "button" }, "Copy");
    const method = pre.dataset.curl || pre.dataset.python || pre.dataset.grpcurl;
    button.setAttribute("aria-label", `Copy ${caption.textContent}${method ? ` of ${method}` : ""}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "Copied";
      } catch {
        // Without TLS browsers keep the clipboard to themselves; then the text is marked for Ctrl-C.
        getSelection().selectAllChildren(pre);
        button.textContent = "Marked";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    caption.append(button);
  }
}

function addSending() {
  const token = make("input", { type: "password", autocomplete: "off", spellcheck: false });
  const field = make("label", { className: "token" }, "Token for the Send buttons of this page; it is kept nowhere", token);
  document.querySelector("#start .code").after(field);
  for (const pre of document.querySelectorAll("pre[data-send]")) {
    const path = make("input", { value: pre.dataset.send, spellcheck: false });
    const answer = make("pre", { className: "answer", tabIndex: 0, hidden: true });
    answer.setAttribute("role", "status");
    const button = make("button", { type: "button" }, "Send");
    button.setAttribute("aria-label", `Send ${pre.dataset.curl}`);
    path.setAttribute("aria-label", `Path of ${pre.dataset.curl}`);
    path.hidden = true;
    button.addEventListener("click", async () => {
      path.hidden = answer.hidden = false;
      if (!token.value.trim()) {
        answer.textContent = "Write a token into the field under Start first.";
        return;
      }
      answer.textContent = await send(path.value, token.value.trim());
    });
    pre.previousElementSibling.append(button);
    pre.after(path, answer);
  }
}

async function send(path, token) {
  if (!path.startsWith("/v1/")) return "The path must begin with /v1/.";
  try {
    const response = await fetch(path, { headers: { authorization: `Bearer ${token}` }, redirect: "error" });
    const text = await response.text();
    let shown = text;
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It is shown as it came.
    }
    return `HTTP ${response.status}\n${shown.slice(0, 20000)}`;
  } catch (error) {
    return `The server did not answer: ${error.message}`;
  }
}

addFilter();
addCopying();
addSending();
