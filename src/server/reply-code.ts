import { isSocksError, ReplyCode, replyError, type SocksError } from '../codec/index.js'
import { hookError } from './operation.js'

// System error -> REP, in one table. Of several failed attempts (AggregateError) the code that stands first here is the
// one to tell: an address that refused says more than one that could not be reached, and that more than one that was silent.
const CODES: readonly (readonly [replyCode: number, errors: readonly string[]])[] = [
  [ReplyCode.notAllowed, ['EACCES', 'EPERM']],
  // A reset while connecting is how some stacks refuse.
  [ReplyCode.connectionRefused, ['ECONNREFUSED', 'ECONNRESET', 'EPIPE']],
  [
    ReplyCode.hostUnreachable,
    // And every EAI_ code of getaddrinfo.
    ['EHOSTUNREACH', 'EHOSTDOWN', 'ENOTFOUND', 'ENODATA'],
  ],
  [ReplyCode.networkUnreachable, ['ENETUNREACH', 'ENETDOWN']],
  [ReplyCode.ttlExpired, ['ETIMEDOUT', 'ERR_SOCKET_CONNECTION_TIMEOUT']],
  [ReplyCode.addressTypeNotSupported, ['EAFNOSUPPORT']],
]

/** The REP byte that tells a client of `error`; 01 for everything that has no better one. */
export function replyCodeOf(error: unknown): number {
  if (isSocksError(error)) return failureCode(error.replyCode)
  const codes = errorCodes(error)
  for (const [replyCode, known] of CODES) if (codes.some((code) => matches(code, known))) return replyCode
  return ReplyCode.generalFailure
}

/** What an application's own error says is checked: a reply of 0 would be a success. */
function failureCode(replyCode: number | undefined): number {
  const isFailure = replyCode !== undefined && Number.isInteger(replyCode) && replyCode >= 1 && replyCode <= 0xff
  return isFailure ? replyCode : ReplyCode.generalFailure
}

const dialFailures = new WeakSet<SocksError>()

/** Whether an error came up while dialing: an upstream's refusal is no verdict of this server's own rules. */
export function isDialFailure(error: SocksError): boolean {
  return dialFailures.has(error)
}

/**
 * A failed dial as the one error class, with the system's own as `cause`. What has no system code and is no SocksError
 * is a bug of `hook`, the application's function that was asked, if there was one.
 */
export function dialError(error: unknown, target: string, hook?: string): SocksError {
  const failure = isSocksError(error) ? error : systemFailure(error, target, hook)
  dialFailures.add(failure)
  return failure
}

function systemFailure(error: unknown, target: string, hook: string | undefined): SocksError {
  const codes = errorCodes(error)
  if (codes.length === 0 && hook !== undefined) return hookError(hook, error, ReplyCode.generalFailure)
  const detail = codes.length === 0 ? '' : ` (${[...new Set(codes)].join(', ')})`
  return replyError(replyCodeOf(error), `cannot connect to ${target}${detail}`, { target, cause: error })
}

function matches(code: string, known: readonly string[]): boolean {
  return known.includes(code) || (code.startsWith('EAI_') && known.includes('ENOTFOUND'))
}

function errorCodes(error: unknown): string[] {
  if (error instanceof AggregateError) return error.errors.flatMap(errorCodes)
  if (!(error instanceof Error)) return []
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' ? [code] : []
}
