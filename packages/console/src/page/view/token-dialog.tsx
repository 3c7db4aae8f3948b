import { useState } from "preact/hooks";
import { Dialog } from "./dialog.tsx";
import type { PageProps } from "./operations.tsx";
import { SafeText } from "./text.tsx";
import { useUniqueId } from "./use-unique-id.ts";

/** Asks for the token that the daemon wants. */
export function TokenDialog({ model, state }: PageProps) {
  const [token, setToken] = useState("");
  const id = useUniqueId();
  const { tokenWanted, hasToken } = state;
  if (tokenWanted === undefined) return null;
  return (
    <Dialog title="Token" onClose={() => model.useToken()}>
      <p>
        <SafeText text={tokenWanted} />
      </p>
      <form
        class="resolve"
        onSubmit={(event) => {
          event.preventDefault();
          model.useToken({ token: token.trim() });
        }}
      >
        <label for={id}>Token</label>
        <input
          id={id}
          type="password"
          value={token}
          required
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <button type="submit">Use it</button>
        {hasToken && (
          <button type="button" onClick={() => model.useToken({ token: undefined })}>
            Forget the one in use
          </button>
        )}
      </form>
      <p class="hint">It is kept with this tab and goes away with it.</p>
    </Dialog>
  );
}
