import { AuthStatus, Method, type ServerSession, type SocksError } from '../codec/index.js'
import { replyCodeOf } from './reply-code.js'

/** The one answer that a client whose handshake has failed is owed, by where it stands; `undefined` for none. */
export function lastAnswer(protocol: ServerSession, error: SocksError): Uint8Array | undefined {
  if (error.code === 'ERR_SOCKS_HANDSHAKE_TIMEOUT' || error.code === 'ERR_SOCKS_ABORTED') return undefined
  switch (protocol.state) {
    case 'choosing-method':
      return protocol.send({ type: 'method', method: Method.noAcceptable })
    case 'judging-credentials':
      return protocol.send({ type: 'authStatus', status: AuthStatus.failure })
    // A method of the application's own has said what it had to say; what it wrote is to arrive.
    case 'authenticating':
      return new Uint8Array(0)
    case 'judging-request':
    case 'listening':
      return protocol.send({ type: 'reply', code: replyCodeOf(error) })
    default:
      return error.response
  }
}
