import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testDirectory } from './peers.js'

/** The environment in which Dante's `socksify` takes the datagrams of a program through a proxy, for the time of one test. */
export function socksifyUdp(proxyPort: number): NodeJS.ProcessEnv {
  const file = join(testDirectory(), 'socks.conf')
  const text = `
resolveprotocol: fake
route {
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = ${proxyPort}
  protocol: udp
  command: udpassociate
  proxyprotocol: socks_v5
  method: none
}
`
  writeFileSync(file, text)
  // Loopback is a network of this host, which it would go to directly.
  return { ...process.env, SOCKS_CONF: file, SOCKS_AUTOADD_LANROUTES: 'no' }
}
