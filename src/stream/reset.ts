import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/**
 * Ends a stream the way a reset does: what is under way is dropped, and on plain TCP the peer sees RST, not a clean FIN.
 * Elsewhere (TLS, Unix sockets, streams without a handle) there is no reset to send, and it is destroyed; so is a socket
 * that has sent its FIN, whose peer has or will have all there was.
 */
export function reset(stream: Duplex): void {
  if (stream.destroyed) return
  // With a FIN under way everything was handed over, and a reset would take it back. libuv refuses it then (EINVAL), and
  // Node loses the handle over that: the descriptor stays open for ever, and reads on.
  const isEnding = stream.writableEnded && stream.writableLength === 0
  if (stream instanceof Socket && !stream.connecting && !isEnding) {
    try {
      stream.resetAndDestroy()
      return
    } catch {
      // ERR_INVALID_HANDLE_TYPE: not a TCP handle.
    }
  }
  stream.destroy()
}
