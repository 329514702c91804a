// @ts-check
// Whole handshakes through the sessions, seen from either side: what the peer sends is there beforehand.
import { AuthStatus, ClientSession, Command, Method, ReplyCode, ServerSession } from 'tubesock/codec'
import { bytesOf } from './messages.mjs'

const TARGET = { host: 'www10.example.com', port: 443 }
const BOUND = /** @type {const} */ ({ type: 'ipv4', host: '192.0.2.1', port: 443 })
const USER = { username: bytesOf('alice10'), password: bytesOf('wonderland') }

const HEX = {
  name: `0311${Buffer.from(TARGET.host).toString('hex')}01bb`,
  bound: '050000' + '01c000020101bb',
  credentials: `0107${Buffer.from('alice10').toString('hex')}0a${Buffer.from('wonderland').toString('hex')}`,
}

/** @param {string} hex */
const bytes = (hex) => Buffer.from(hex, 'hex')

/**
 * `run` resolves a whole handshake and returns all that the side has sent. `hex`: what that has to be.
 * @typedef {{ name: string, hex: string, run: () => Uint8Array[] }} Handshake
 */

/** @type {readonly Handshake[]} */
export const HANDSHAKES = [
  {
    name: 'server, no authentication, name',
    hex: `0500${HEX.bound}`,
    run: server([bytes('050100'), bytes(`050100${HEX.name}`)]),
  },
  {
    name: 'server, username and password, name',
    hex: `05020100${HEX.bound}`,
    run: server([bytes('050102'), bytes(HEX.credentials), bytes(`050100${HEX.name}`)]),
  },
  {
    name: 'server, SOCKS4a',
    hex: '005a01bbc0000201',
    run: server([bytes(`040101bb0000000100${Buffer.from(TARGET.host).toString('hex')}00`)]),
  },
  {
    name: 'client, no authentication, name',
    hex: `050100050100${HEX.name}`,
    run: client(Method.noAuth, [bytes('0500'), bytes(HEX.bound)]),
  },
  {
    name: 'client, username and password, name',
    hex: `050102${HEX.credentials}050100${HEX.name}`,
    run: client(Method.userPass, [bytes('0502'), bytes('0100'), bytes(HEX.bound)]),
  },
]

/** @param {readonly Uint8Array[]} chunks @returns {() => Uint8Array[]} */
function server(chunks) {
  return () => {
    const session = new ServerSession({ socks4: true })
    /** @type {Uint8Array[]} */
    const sent = []
    for (const chunk of chunks) {
      session.receive(chunk)
      for (let event = session.nextEvent(); event !== undefined; event = session.nextEvent()) {
        if (event.type === 'greeting') sent.push(session.send({ type: 'method', method: event.methods[0] ?? 0xff }))
        else if (event.type === 'credentials')
          sent.push(session.send({ type: 'authStatus', status: AuthStatus.success }))
        else sent.push(session.send({ type: 'reply', code: ReplyCode.succeeded, bound: BOUND }))
      }
    }
    if (session.state !== 'open') throw new Error(`the handshake ended in '${session.state}'`)
    return sent
  }
}

/** @param {number} method @param {readonly Uint8Array[]} chunks @returns {() => Uint8Array[]} */
function client(method, chunks) {
  return () => {
    const session = new ClientSession()
    const sent = [session.send({ type: 'greeting', methods: [method] })]
    for (const chunk of chunks) {
      session.receive(chunk)
      while (session.nextEvent() !== undefined) {
        if (session.state === 'sending-credentials') sent.push(session.send({ type: 'credentials', ...USER }))
        if (session.state === 'sending-request') {
          sent.push(session.send({ type: 'request', command: Command.connect, destination: TARGET }))
        }
      }
    }
    if (session.state !== 'open') throw new Error(`the handshake ended in '${session.state}'`)
    return sent
  }
}
