import type { ConnectionOptions } from 'node:tls'

/**
 * Options of `tls.connect` whose judge of certificates may throw. Node calls it from where a throw ends the process, and
 * takes a promise for a refusal, which then rejects with nobody listening. `undefined` is no judge: Node's own has the word.
 */
export function guardIdentity<Options extends Pick<ConnectionOptions, 'checkServerIdentity'>>(
  options: Options,
): Options {
  const { checkServerIdentity: judge, ...others } = options
  // Where there is nothing to judge by, the key itself must be absent; all others are the caller's.
  if (judge === undefined) return others as Options
  // What is no function is Node's to refuse.
  if (typeof judge !== 'function') return options
  return {
    ...options,
    checkServerIdentity: (host, certificate) => verdict(() => judge.call(options, host, certificate)),
  }
}

/** The error of a refusal. Whatever is neither that nor `undefined` refuses, too: nobody has said yes. */
function verdict(judge: () => unknown): Error | undefined {
  try {
    const found: unknown = judge()
    // Node asks for truth, and so do judges that return null.
    if (!found) return undefined
    if (found instanceof Error) return found
    Promise.resolve(found).catch(() => {})
    const isPromise = found instanceof Promise
    return new Error(`checkServerIdentity ${isPromise ? 'must not be async' : 'refused the certificate'}`)
  } catch (error) {
    return error instanceof Error ? error : new Error('checkServerIdentity failed', { cause: error })
  }
}
