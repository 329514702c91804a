// tubesock/client: connect through SOCKS proxies.

export type { AuthChannel } from '../codec/auth-channel.js'
export type { Address, AddressKind, Credentials, Destination } from '../codec/index.js'
export {
  isSocksError,
  SOCKS_ERROR_CODES,
  SocksError,
  type SocksErrorCode,
  type SocksErrorDetails,
} from '../codec/index.js'
export type {
  UdpAssociation,
  UdpAssociationEvents,
  UdpAssociationStats,
  UdpMessage,
  UdpSendCallback,
  UdpSender,
  UdpSendOptions,
} from '../udp/index.js'
export { SocksAgent, type SocksAgentOptions } from './agent.js'
export {
  type ClientAuthenticated,
  type ClientAuthenticator,
  type ClientAuthResult,
  type ClientMethod,
  type ClientMethodContext,
  customMethod,
} from './auth-method.js'
export type { Accepted, AcceptOptions, BindRequestOptions, BoundListener } from './bind.js'
export type { Connection, Hop } from './chain.js'
export type { ConnectOptions, LookUpOptions, SocksClientOptions as ClientOptions } from './client.js'
export { SocksClient } from './compat.js'
export { SocksClientError } from './compat-error.js'
export type {
  SocksClientBoundEvent,
  SocksClientCallback,
  SocksClientChainOptions,
  SocksClientEstablishedEvent,
  SocksClientEvents,
  SocksClientOptions,
  SocksCommandOption,
  SocksConnectionOptions,
  SocksProxy,
  SocksProxyType,
  SocksRemoteHost,
  SocksUDPFrameDetails,
} from './compat-types.js'
export {
  type ConnectorRequest,
  type ConnectorTlsOptions,
  type SocksConnector,
  socksConnector,
} from './connector.js'
export type { Dialer, DialRequest } from './dialer.js'
export { type ProxyTarget, proxyFromEnv } from './env.js'
export { type HandshakeRequest, type HandshakeResult, type HandshakeStage, handshake } from './handshake.js'
export type { TunnelOptions } from './http-options.js'
export type { ProxyLike, ProxyOptions } from './proxy-url.js'
export type { UdpAssociateOptions } from './udp.js'
