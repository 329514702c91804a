import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/**
 * Ends a stream the way a reset does: what is under way is dropped, and on plain TCP the peer sees RST, not a clean FIN.
 * Elsewhere (TLS, Unix sockets, streams without a handle) there is no reset to send, and it is destroyed.
 */
export function reset(stream: Duplex): void {
  if (stream.destroyed) return
  if (stream instanceof Socket && !stream.connecting) {
    try {
      stream.resetAndDestroy()
      return
    } catch {
      // ERR_INVALID_HANDLE_TYPE: not a TCP handle.
    }
  }
  stream.destroy()
}
