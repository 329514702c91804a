// tubesock/server: host a SOCKS5 server.

export type { AuthChannel } from '../codec/auth-channel.js'
export type { Address, AddressKind, Credentials, Destination } from '../codec/index.js'
export {
  isSocksError,
  SOCKS_ERROR_CODES,
  SocksError,
  type SocksErrorCode,
  type SocksErrorDetails,
} from '../codec/index.js'
export { type Relay, type RelayEnd, type RelayOptions, relay } from '../stream/relay.js'
export {
  type Authenticated,
  type Authenticator,
  type AuthMethod,
  type CustomMethod,
  customAuth,
  type NoAuthMethod,
  noAuth,
  type UserPassMethod,
  userPass,
  type Verifier,
} from './auth.js'
export { authorize, type PatternRule } from './authorize.js'
export type { AcceptedPeer, BindListen, BindListener, BindOptions, BindPeerRule, HostAndPort } from './bind-options.js'
export type { CommandName } from './commands.js'
export { type EgressCandidate, type EgressPolicy, egress } from './egress.js'
export type {
  ClosedInfo,
  CloseReason,
  DeniedInfo,
  EstablishedInfo,
  ListeningInfo,
  RequestInfo,
  ServerEvents as SocksServerEvents,
} from './events.js'
export {
  createForwardServer,
  type ForwardServer,
  type ForwardServerOptions,
  type ForwardTarget,
} from './forward-server.js'
export type { CloseOptions, HandleOptions } from './front-door.js'
export { type GssapiOptions, type GssContext, type GssStep, gssapi, type ProtectionName } from './gssapi.js'
export type { LimitOptions } from './limits.js'
export type { ListenAddress, ListenOptions, ListenPath } from './listen-options.js'
export type { ServerStats } from './monitor.js'
export type { ClientSocket, Fallback, FrontDoorOptions, ServerOptions, UserIdVerifier } from './options.js'
export { createOutbound, type Outbound, type OutboundOptions } from './outbound.js'
export type {
  Authorize,
  Dial,
  DialResult,
  OutboundConnection,
  OutboundRequest,
  OutboundTarget,
  RequestCommand,
} from './request.js'
export type { Lookup } from './resolve.js'
export { createSocksServer, type SocksServer } from './server.js'
export type { Identity, Session } from './session.js'
export type { UdpAssociate, UdpElsewhere, UdpOptions } from './udp-options.js'
