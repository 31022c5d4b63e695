// The form that asks for a token.
import { useRef, useState } from 'preact/hooks';
import { Failure, request } from './api';
import { Heading, Mark, Notice } from './ui';

export function Login({ done, ended }: { done: () => void; ended: boolean }) {
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const send = async () => {
    const token = field.current!.value.trim();
    if (!token) {
      field.current!.focus();
      return;
    }
    setBusy(true);
    setFailure(undefined);
    try {
      await request('POST', 'session', { token });
      field.current!.value = '';
      done();
    } catch (e) {
      setFailure(e instanceof Failure ? e : new Failure(0, String(e)));
      setBusy(false);
      field.current!.select();
    }
  };
  return (
    <main id="main" class="login">
      <p class="brand"><Mark /><span>edgekit</span></p>
      <Heading title="Log in" />
      {ended && !failure && <Notice kind="info" title="Your session has ended."><p>Log in again to go on where you were.</p></Notice>}
      {failure && (
        <Notice kind="bad" title={failure.code === 401 || failure.code === 403 ? 'The cluster does not accept this token.' : failure.away ? 'cloudcore cannot check the token now.' : 'The login was refused.'}>
          <p>{failure.message || (failure.away ? 'Try again in a moment.' : 'It may have run out, or be of another cluster. Make a new one.')}</p>
        </Notice>
      )}
      <form onSubmit={(e) => { e.preventDefault(); void send(); }}>
        <label for="token">Token of a user or a service account</label>
        <input id="token" ref={field} type="password" autocomplete="off" spellcheck={false} required aria-describedby="token-help" />
        <button type="submit" class="primary" disabled={busy}>{busy ? 'Checking…' : 'Log in'}</button>
      </form>
      <div class="muted small" id="token-help">
        <p>Your rights here are those of the token in the cluster. Make one for a service account with:</p>
        <pre><code>kubectl create token NAME -n NAMESPACE</code></pre>
        <p>With a kubeconfig you need none: <code>edgectl console</code> on your own machine logs in for you.</p>
      </div>
    </main>
  );
}
