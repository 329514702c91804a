import type { Duplex } from 'node:stream'
import { ReplyCode, type SocksError } from '../codec/index.js'
import { hookError } from './operation.js'
import type { Session } from './session.js'

/** Gives an idle stream to a hook that owns it from then on. A hook that fails owns nothing: the stream is destroyed. */
export function giveAway(
  stream: Duplex,
  session: Session,
  take: (stream: Duplex, session: Session) => unknown,
  failed: (error: SocksError) => void,
): void {
  const onFailure = (cause: unknown): void => {
    stream.destroy()
    failed(hookError('fallback', cause, ReplyCode.generalFailure))
  }
  // The stream is idle in the next tick.
  process.nextTick(() => {
    try {
      Promise.resolve(take(stream, session)).catch(onFailure)
    } catch (error) {
      onFailure(error)
    }
  })
}
