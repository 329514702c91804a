// Tor without the network: it takes requests, answers what it can by itself, and refuses the rest.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { cleanup } from '../support/servers.js'
import { Daemon, freePort, temporaryDirectory } from './peers.js'

/** A name that it answers with {@link MAPPED_ADDRESS}. */
export const MAPPED_NAME = 'mapped.test'
export const MAPPED_ADDRESS = '192.0.2.7'

export interface Tor {
  readonly port: number
  /** Begins to listen at its control port. Resolves to a function that tells the events so far. */
  events(): Promise<() => string>
  stop(): Promise<void>
}

/** Starts Tor so that nothing of it leaves this machine: its one authority and its way out are ports that nobody has. */
export async function startTor(): Promise<Tor> {
  const port = await freePort()
  const directory = temporaryDirectory()
  const [file, control] = [join(directory, 'torrc'), join(directory, 'control')]
  const config = [
    `SocksPort 127.0.0.1:${port} ExtendedErrors`,
    `ControlPort unix:${control}`,
    `DataDirectory ${join(directory, 'data')}`,
    `DirAuthority offline orport=1 no-v2 127.0.0.1:1 ${'1'.repeat(40)}`,
    'UseDefaultFallbackDirs 0',
    'Socks5Proxy 127.0.0.1:1',
    `MapAddress ${MAPPED_NAME} ${MAPPED_ADDRESS}`,
    'Log notice stderr',
  ]
  writeFileSync(file, `${config.join('\n')}\n`)
  const daemon = new Daemon('tor', ['-f', file], directory)
  await daemon.listens(port)
  return { port, events: () => listen(control), stop: () => daemon.stop() }
}

async function listen(path: string): Promise<() => string> {
  const socket = connect(path)
  cleanup(() => socket.destroy())
  let log = ''
  socket.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  socket.write('AUTHENTICATE\r\nSETEVENTS STREAM\r\n')
  while (!/250 OK\r\n250 OK/.test(log)) await once(socket, 'data')
  return () => log
}
