// tubesock/server: host a SOCKS5 server.

export type { Address, AddressKind, Credentials, Destination } from '../codec/index.js'
export {
  isSocksError,
  SOCKS_ERROR_CODES,
  SocksError,
  type SocksErrorCode,
  type SocksErrorDetails,
} from '../codec/index.js'
export { type AuthMethod, type NoAuthMethod, noAuth, type UserPassMethod, userPass, type Verifier } from './auth.js'
export { type EgressCandidate, type EgressPolicy, egress } from './egress.js'
export type {
  ClosedInfo,
  CloseReason,
  DeniedInfo,
  EstablishedInfo,
  RequestInfo,
  SocksServerEvents,
} from './events.js'
export type { ListenAddress, ListenOptions } from './listen-options.js'
export type { ServerOptions } from './options.js'
export {
  type Authorize,
  createOutbound,
  type Dial,
  type DialResult,
  type Outbound,
  type OutboundConnection,
  type OutboundOptions,
  type OutboundRequest,
  type OutboundTarget,
} from './outbound.js'
export type { Lookup } from './resolve.js'
export { type CloseOptions, createSocksServer, type HandleOptions, type SocksServer } from './server.js'
export type { Identity, Session } from './session.js'
