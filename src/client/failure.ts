import { ReplyCode } from '../codec/constants.js'
import { isSocksError, SocksError } from '../codec/errors.js'
import type { HandshakeStage } from './handshake.js'

/** What a hop is busy with. */
export type Stage = 'connect' | 'tls' | 'lookup' | HandshakeStage | 'done'

/** Where on the way an operation stands. */
export interface Place {
  /** Zero-based. */
  readonly hop: number
  /** Number of hops in all. */
  readonly hops: number
  /** The proxy, without credentials. */
  readonly proxy: string
  /** `host:port` that this hop is asked for. */
  readonly target: string
  readonly stage: Stage
  /** Whether this hop is spoken to in plain text, and is known not to have said a byte. */
  readonly isSilent?: boolean | undefined
}

const WAITING_FOR: Readonly<Record<Stage, string>> = {
  connect: 'while connecting to it',
  tls: 'in the TLS handshake with it',
  lookup: 'while looking up the target',
  method: 'waiting for its choice of a method',
  status: 'waiting for its answer to the credentials',
  auth: 'in the custom method',
  reply: 'waiting for its reply',
  done: 'after its reply',
}

/** What a first byte of another protocol means on this side, and what to do about it. */
const OTHER_PROTOCOL: { readonly [code: string]: string | undefined } = {
  ERR_SOCKS_PEER_IS_HTTP: 'this is an HTTP proxy, not a SOCKS proxy',
  ERR_SOCKS_PEER_IS_TLS: "it answers in TLS: this proxy wants the option 'tls'",
}

// It takes the first message, drops what came with it, and waits for what it will never get.
const READS_SINGLY = "; a proxy that reads one message at a time loses what came early: try without 'optimistic'"

// A server of TLS waits for more than the few bytes of a greeting, and never answers them.
const MAY_WANT_TLS = "; it has said nothing at all: does the proxy want the option 'tls'?"

const EARLY_STAGES: readonly Stage[] = ['method', 'status', 'reply']

/** The error of an operation whose time is up. `isOptimistic`: all was said before the proxy had answered. */
export function timeoutError(place: Place, timeoutMs: number, isOptimistic = false): SocksError {
  const message = `${describe(place)}: timed out after ${timeoutMs} ms ${WAITING_FOR[place.stage]}`
  // Only in this case it is the target that did not answer, not the proxy.
  const ownsTarget = place.stage === 'reply' && place.hop === place.hops - 1
  return new SocksError('ERR_SOCKS_TIMEOUT', `${message}${timeoutHint(place, isOptimistic)}`, {
    hop: place.hop,
    target: place.target,
    replyCode: ownsTarget ? ReplyCode.ttlExpired : undefined,
  })
}

function timeoutHint({ stage, isSilent }: Place, isOptimistic: boolean): string {
  if (isOptimistic && EARLY_STAGES.includes(stage)) return READS_SINGLY
  return stage === 'method' && isSilent ? MAY_WANT_TLS : ''
}

/** The error to tell the caller: what went wrong, at which hop, on the way to what. */
export function explain(error: unknown, place: Place): unknown {
  const { hop, target, stage } = place
  // The proxies have done their part: what is thrown now is the caller's own.
  if (stage === 'done') return error
  if (isSocksError(error)) {
    const message = `${describe(place)}: ${OTHER_PROTOCOL[error.code] ?? error.message}`
    const { code, replyCode, status } = error
    return new SocksError(code, message, { replyCode, status, hop, target, cause: safeCause(error.cause) })
  }
  if (stage === 'connect' || stage === 'tls') {
    const message = `${describe(place)}: failed ${WAITING_FOR[stage]} (${reason(error)})`
    return new SocksError('ERR_SOCKS_PROXY_UNREACHABLE', message, { hop, target, cause: safeCause(error) })
  }
  if (stage === 'lookup') {
    const message = `${describe(place)}: cannot look up the target (${reason(error)})`
    const replyCode = ReplyCode.hostUnreachable
    return new SocksError('ERR_SOCKS_HOST_UNREACHABLE', message, { replyCode, hop, target, cause: safeCause(error) })
  }
  return error
}

function describe({ hop, hops, proxy, target }: Place): string {
  return `proxy ${proxy}${hops > 1 ? ` (hop ${hop + 1} of ${hops})` : ''}, asked for ${target}`
}

function reason(error: unknown): string {
  const code = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' ? code : 'unknown error'
}

/** Node hangs the peer's whole certificate on an error of TLS; bytes of a peer have no place in ours. */
export function safeCause(cause: unknown): unknown {
  if (!(cause instanceof Error) || !('cert' in cause)) return cause
  // Its message quotes names from the certificate, too.
  return Object.assign(new Error('the certificate is not accepted'), { code: Reflect.get(cause, 'code') })
}
