import type { Duplex } from 'node:stream'
import type { AuthChannel } from '../codec/auth-channel.js'
import {
  AuthStatus,
  type Credentials,
  credentialsToText,
  isSocksError,
  ReplyCode,
  SocksError,
  type SocksErrorCode,
} from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import type { Authenticated, AuthMethod, CustomMethod } from './auth.js'
import { untilCancelled } from './cancellation.js'
import { discardStream } from './dial.js'
import { hookError } from './operation.js'
import type { Identity, ServerSideSession, Session } from './session.js'

/** The identity of everybody who was not asked. */
export const NOBODY: Identity = Object.freeze({})

/** Asks the verifier of username and password. Resolves to an identity; rejects with the SocksError that denies one. */
export async function identify(
  method: AuthMethod,
  credentials: Credentials,
  session: ServerSideSession,
): Promise<Identity> {
  // Only with lenientAuthMessage: nobody asked for them.
  if (method.type !== 'user-pass') return NOBODY
  const text = credentialsToText(credentials)
  if (text === undefined) throw authFailed('the credentials are not UTF-8')
  const verdict = await ask(session, () => method.verify(text.username, text.password, session))
  if (verdict === true) return Object.freeze({ username: text.username })
  if (isIdentity(verdict)) return verdict
  throw authFailed('the verifier denied the credentials')
}

/** Lets a SOCKS4 client in by its USERID, a name without a proof. Rejects as {@link identify}. */
export async function identifyUserId(
  verify: ((userId: string, session: Session) => unknown) | undefined,
  userId: Uint8Array,
  session: ServerSideSession,
): Promise<Identity> {
  if (verify === undefined) return NOBODY
  const name = credentialsToText({ username: userId, password: new Uint8Array(0) })?.username
  if (name === undefined) throw authFailed('the USERID is not UTF-8')
  const verdict = await ask(session, () => verify(name, session))
  if (verdict === true) return Object.freeze({ username: name })
  if (isIdentity(verdict)) return verdict
  throw authFailed('the verifier denied the USERID')
}

/** Runs a method of the application's own. Rejects as {@link identify}. */
export async function authenticate(
  { authenticate: talk }: CustomMethod,
  channel: AuthChannel,
  session: ServerSideSession,
): Promise<Authenticated> {
  const verdict = await ask(session, () => talk(channel, session))
  if (verdict === false || verdict === null || verdict === undefined) throw authFailed('the method denied the client')
  if (isAuthenticated(verdict)) return verdict
  const cause = new TypeError('a custom method returns { identity, wrap? }, or false')
  throw hookError('auth', cause, ReplyCode.generalFailure)
}

/** Puts a method's own stream around the client's. Rejects as {@link identify}; what comes too late is destroyed. */
export async function wrapStream(
  wrap: NonNullable<Authenticated['wrap']>,
  stream: Duplex,
  session: ServerSideSession,
): Promise<Duplex> {
  const wrapped = await ask(session, () => wrap(stream), discardStream)
  if (isByteStream(wrapped) && !wrapped.destroyed) return wrapped
  discardStream(wrapped)
  const cause = new TypeError('wrap returns a Duplex of bytes that is not destroyed')
  throw hookError('auth', cause, ReplyCode.generalFailure)
}

/** Asks a hook no longer than the client is there. Its failure is told as one of a hook, unless it has a name already. */
async function ask(
  { gone }: ServerSideSession,
  hook: () => unknown,
  discardLate?: (late: unknown) => void,
): Promise<unknown> {
  try {
    return await untilCancelled(gone, hook, discardLate)
  } catch (error) {
    if (gone.isCancelled || isNamed(error)) throw error
    throw hookError('auth', error, ReplyCode.generalFailure)
  }
}

/** Errors that say all there is to say: of the client (it left, it broke a method's protocol), or of a method's own hook. */
const NAMED: ReadonlySet<SocksErrorCode> = new Set<SocksErrorCode>([
  'ERR_SOCKS_CONNECTION_CLOSED',
  'ERR_SOCKS_BAD_GSSAPI_FRAME',
  'ERR_SOCKS_AUTH_FAILED',
  'ERR_SOCKS_HOOK_FAILED',
])

function isNamed(error: unknown): boolean {
  return isSocksError(error) && NAMED.has(error.code)
}

/** Objects that some code returns for "no". */
const NO_IDENTITY = [Error, Boolean, Number, String, Date] as const

/** Whether a verdict is an object that says who somebody is. */
export function isIdentity(verdict: unknown): verdict is Identity {
  return (
    typeof verdict === 'object' &&
    verdict !== null &&
    !Array.isArray(verdict) &&
    !NO_IDENTITY.some((type) => verdict instanceof type)
  )
}

function isAuthenticated(verdict: unknown): verdict is Authenticated {
  if (!isIdentity(verdict)) return false
  const { identity, wrap } = verdict
  return isIdentity(identity) && (wrap === undefined || typeof wrap === 'function')
}

function authFailed(message: string): SocksError {
  return new SocksError('ERR_SOCKS_AUTH_FAILED', message, { status: AuthStatus.failure, rule: 'auth' })
}
