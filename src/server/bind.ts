import type { Duplex } from 'node:stream'
import { withoutZone } from '../codec/destination.js'
import {
  type Destination,
  formatDestination,
  isSocksError,
  parseDestination,
  ReplyCode,
  replyError,
  SocksError,
} from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import { guard } from '../stream/handover.js'
import { openPeerListener } from './bind-listener.js'
import type { AcceptedPeer, BindListen, BindListener, BindSettings } from './bind-options.js'
import type { CommandContext } from './commands.js'
import { discardStream } from './dial.js'
import { hookError, Operation, untilAborted } from './operation.js'
import type { Outbound } from './outbound.js'
import { assertAddress } from './reachable.js'
import { dialError } from './reply-code.js'
import type { BindAdmission, OutboundTarget } from './request.js'

/** Serves a BIND: a listener, its address as the first reply, one peer whose address is the second. RFC 1928 section 4. */
export async function bind(context: CommandContext, target: OutboundTarget): Promise<void> {
  const { outbound, bind: settings } = context.settings
  if (outbound.hasDialer && settings.listen === undefined) {
    throw replyError(ReplyCode.commandNotSupported, 'a listener here would go beside the dialer', { rule: 'commands' })
  }
  const admission = await outbound.admitBind(target)
  const listener = await open(context, target, admission)
  try {
    if (!context.isWaiting()) return
    context.listening(parseDestination(listener.address.host, listener.address.port))
    const { stream, peer, rules } = await waitForPeer(listener, context, target, admission)
    if (context.isWaiting()) context.established({ stream, bound: peer, rules })
    else stream.destroy()
  } finally {
    closeListener(listener)
  }
}

async function open(context: CommandContext, target: OutboundTarget, admission: BindAdmission): Promise<BindListener> {
  const { bind: settings, outbound } = context.settings
  const { destination, peers } = admission
  const { listen } = settings
  try {
    if (listen === undefined) {
      const { stream, version } = context
      const { localAddress } = outbound
      return await openPeerListener(settings, { peers, port: destination.port, version, control: stream, localAddress })
    }
    const request = Object.freeze({ ...target, host: destination.host, port: destination.port })
    return await openElsewhere(outbound, request, listen)
  } catch (error) {
    const hook = listen === undefined ? undefined : 'bind.listen'
    throw target.signal?.aborted ? error : dialError(error, formatDestination(destination), hook)
  }
}

/** Asks the hook, no longer than a dial may take. What it made is ended when nobody can use it. */
async function openElsewhere(outbound: Outbound, request: OutboundTarget, listen: BindListen): Promise<BindListener> {
  const operation = outbound.operation(request)
  try {
    const asked = Object.freeze({ ...request, signal: operation.signal })
    const listener = await untilAborted(operation.signal, () => listen(asked), closeListener)
    try {
      assertListener(listener)
    } catch (error) {
      closeListener(listener)
      throw error
    }
    return listener
  } finally {
    operation.done()
  }
}

interface Peer {
  readonly stream: Duplex
  readonly peer: Destination
  readonly rules: readonly string[]
}

/** Takes peers until one is admitted. A stranger is dropped: a scanner must not be able to end somebody else's wait. */
async function waitForPeer(
  listener: BindListener,
  context: CommandContext,
  target: OutboundTarget,
  admission: BindAdmission,
): Promise<Peer> {
  const { bind: settings } = context.settings
  const operation = new Operation(target.signal, settings.timeoutMs, bindTimeout)
  const { signal } = operation
  try {
    for (;;) {
      const { socket, peer } = await accept(listener, signal, settings)
      try {
        const rules = await admit(peer, context, { ...target, signal }, admission)
        // One that has gone while it was judged is no peer.
        if (!socket.destroyed) return { stream: socket, peer, rules: [...new Set([...admission.rules, ...rules])] }
      } catch (error) {
        socket.destroy()
        // A listener that is not ours is for one peer.
        if (signal.aborted || settings.listen !== undefined || !isSocksError(error)) throw error
        context.denied(error)
      }
    }
  } finally {
    operation.done()
  }
}

async function accept(
  listener: BindListener,
  signal: AbortSignal,
  { listen }: BindSettings,
): Promise<{ socket: Duplex; peer: Destination }> {
  let accepted: AcceptedPeer | undefined
  try {
    accepted = await untilAborted(signal, () => listener.accept({ signal }), destroyAccepted)
    if (!isByteStream(accepted?.socket)) throw new TypeError('accept resolved to no Duplex of bytes')
    guard(accepted.socket)
    const { host, port } = accepted.peer
    // Where it came from is what the system says: a zone names an interface of this host.
    return { socket: accepted.socket, peer: parseDestination(withoutZone(host), port) }
  } catch (error) {
    destroyAccepted(accepted)
    throw signal.aborted || listen === undefined ? error : dialError(error, 'the peer', 'bind.listen')
  }
}

/** The rules that admit a peer. Rejects with the SocksError that drops it. */
async function admit(
  peer: Destination,
  { settings }: CommandContext,
  target: OutboundTarget,
  { destination, peers }: BindAdmission,
): Promise<readonly string[]> {
  const { peer: rule } = settings.bind
  if (typeof rule === 'function') {
    let verdict: unknown
    try {
      verdict = await untilAborted(signalOf(target), () => rule({ host: peer.host, port: peer.port }, target))
    } catch (error) {
      throw target.signal?.aborted ? error : hookError('bind.peer', error, ReplyCode.notAllowed)
    }
    if (verdict !== true) throw stranger(peer, 'hook')
  } else if (rule === 'strict' && peers !== undefined && !peers.some(({ host }) => host === peer.host)) {
    throw stranger(peer, rule)
  }
  return await settings.outbound.admitPeer(peer, destination, target)
}

function stranger(peer: Destination, rule: string): SocksError {
  const target = formatDestination(peer)
  return replyError(ReplyCode.notAllowed, `a stranger connected from ${target}`, { target, rule: `bind.peer ${rule}` })
}

function bindTimeout(): SocksError {
  return new SocksError('ERR_SOCKS_BIND_TIMEOUT', 'no peer connected in time', { replyCode: ReplyCode.ttlExpired })
}

function assertListener(listener: unknown): asserts listener is BindListener {
  // `as`: looked at property by property below.
  const { address, accept, close } = (listener ?? {}) as Partial<BindListener>
  if (typeof accept !== 'function' || typeof close !== 'function')
    throw new TypeError('bind.listen returned no listener')
  assertAddress(address, 'bind.listen')
}

/** What the application's listener throws at its end is nobody's to answer. */
function closeListener(listener: BindListener | undefined): void {
  try {
    listener?.close?.()
  } catch {}
}

function destroyAccepted(accepted: AcceptedPeer | undefined): void {
  discardStream(accepted?.socket)
}

function signalOf({ signal }: OutboundTarget): AbortSignal {
  return signal ?? new AbortController().signal
}
