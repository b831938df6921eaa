// The token goes in the body of one POST, and comes back as a cookie that no script can read.
const form = document.getElementById("login");
const wrong = document.getElementById("wrong");

// A link from another origin comes without the cookie of who has logged in before; from here it is sent.
fetch("/audit").then((answer) => answer.ok && location.replace("/"), () => {});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.textContent = "";
  try {
    const answer = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    const { error } = await answer.json();
    wrong.textContent = `${error[0].toUpperCase()}${error.slice(1)}.`;
  } catch {
    wrong.textContent = "The console does not answer: is it running?";
  }
  form.elements.token.select();
});
