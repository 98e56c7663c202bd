// Asks the browser for a passkey and sends what it answers. Forms say by `data-passkey` what they ask for: `create`, `get`,
// or `login`, which offers passkeys while the name is typed as well. Nothing is sent that the person did not confirm.
"use strict";

(() => {
  const LIFE_MILLISECONDS = 5 * 60 * 1000; // so long the server takes an answer
  const OFFER_MILLISECONDS = LIFE_MILLISECONDS - 30 * 1000; // so long a passkey is offered while the name is typed
  const TOLD = {
    NotAllowedError: "Nothing was sent: it was cancelled, or took too long. You can try again.",
    InvalidStateError: "This device holds a passkey of your account already.",
    SecurityError: "Passkeys do not work at this address.",
    NotSupportedError: "This device has no passkeys of the kind that this site takes.",
  };
  const began = Date.now();
  let waiting = null; // what ends the question that waits behind the name field

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const named = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

  function asked(form) {
    const options = JSON.parse(form.dataset.options);
    options.challenge = bytes(options.challenge);
    if (options.user) options.user.id = bytes(options.user.id);
    if (options.allowCredentials) options.allowCredentials = named(options.allowCredentials);
    if (options.excludeCredentials) options.excludeCredentials = named(options.excludeCredentials);
    return options;
  }

  function written(credential) {
    const { response } = credential;
    const told = { clientDataJSON: text(response.clientDataJSON) };
    if (response.attestationObject) {
      told.attestationObject = text(response.attestationObject);
      told.transports = response.getTransports?.() ?? [];
    } else {
      told.authenticatorData = text(response.authenticatorData);
      told.signature = text(response.signature);
      if (response.userHandle) told.userHandle = text(response.userHandle);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response: told });
  }

  function send(form, credential) {
    form.elements.passkey.value = written(credential);
    const kept = document.querySelector("form[data-retry] input[name=remember]");
    if (form.elements.remember && kept?.checked) {
      form.elements.remember.value = kept.value;
      form.elements.remember.disabled = false;
    }
    form.submit();
  }

  async function ask(form) {
    const problem = form.querySelector("[data-passkey-problem]");
    const button = form.querySelector("[type=submit]");
    problem.hidden = true;
    button.disabled = true;
    waiting?.abort();
    try {
      const publicKey = asked(form);
      if (Date.now() - began + publicKey.timeout > LIFE_MILLISECONDS) {
        location.reload();
        return;
      }
      const { credentials } = navigator;
      send(form, await (form.dataset.passkey === "create" ? credentials.create({ publicKey }) : credentials.get({ publicKey })));
    } catch (error) {
      problem.textContent = TOLD[error.name] ?? "Your browser could not use a passkey. Try another way.";
      problem.hidden = false;
      button.disabled = false;
    }
  }

  async function offerWhileTyping(form) {
    if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    waiting = new AbortController();
    const over = setTimeout(() => waiting.abort(), OFFER_MILLISECONDS);
    const question = { publicKey: asked(form), mediation: "conditional", signal: waiting.signal };
    const credential = await navigator.credentials.get(question).catch(() => null);
    clearTimeout(over);
    if (credential) send(form, credential);
  }

  if (!window.PublicKeyCredential) return;
  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    form.querySelector("[data-passkey-without]").hidden = true;
    form.querySelector("[data-passkey-with]").hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(form);
    });
    if (form.dataset.passkey === "login") offerWhileTyping(form);
  });
})();
