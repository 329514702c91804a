// Active-mode FTP is what BIND was made for: the server connects back to the client, through the proxy.
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { EstablishedInfo } from '../../src/server/index.js'
import { run } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'
import { Daemon, shared } from './peers.js'

const FILE = randomBytes(4_000_000)

interface FtpServer {
  readonly port: number
  stop(): Promise<void>
}

async function startFtpServer(program: string): Promise<FtpServer> {
  const directory = mkdtempSync(join(tmpdir(), 'tubesock-ftp-'))
  const root = join(directory, 'root')
  mkdirSync(join(root, 'pub'), { recursive: true })
  mkdirSync(join(directory, 'empty'))
  writeFileSync(join(root, 'pub', 'file.bin'), FILE)
  // It serves as another user, and refuses a root that this one could write to.
  chmodSync(directory, 0o755)
  chmodSync(root, 0o555)
  const port = await refusedPort()
  const options = {
    listen: 'YES',
    listen_address: '127.0.0.1',
    listen_port: port,
    background: 'NO',
    anonymous_enable: 'YES',
    no_anon_password: 'YES',
    anon_root: root,
    secure_chroot_dir: join(directory, 'empty'),
    // Active mode alone.
    pasv_enable: 'NO',
    port_enable: 'YES',
    connect_from_port_20: 'NO',
    // It kills its own children on kernels newer than it.
    seccomp_sandbox: 'NO',
  }
  const file = join(directory, 'vsftpd.conf')
  writeFileSync(
    file,
    `${Object.entries(options)
      .map(([name, value]) => `${name}=${value}`)
      .join('\n')}\n`,
  )
  const daemon = new Daemon(program, [file], directory)
  await daemon.listens(port)
  return { port, stop: () => daemon.stop() }
}

function socksConfiguration(directory: string, proxyPort: number, version: 4 | 5): string {
  const file = join(directory, 'socks.conf')
  const text = `
resolveprotocol: fake
route {
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = ${proxyPort}
  protocol: tcp
  command: connect bind
  proxyprotocol: socks_v${version}
  method: none
}
`
  writeFileSync(file, text)
  return file
}

describe('active-mode FTP through BIND', () => {
  const vsftpd = requireProgram('vsftpd', 'vsftpd')
  const socksify = requireProgram('socksify', 'dante-client')
  const ftp = requireProgram('tnftp', 'tnftp')
  const isRoot = process.getuid?.() === 0
  beforeEach((context) => {
    if (!isRoot) context.skip('vsftpd runs as root alone')
  })
  const server = shared(isRoot ? [vsftpd, socksify, ftp] : ['(needs root)'], () => startFtpServer(vsftpd))

  it.each([5, 4] as const)(
    'S87 S88 S130 tnftp under socksify fetches 4 MB from vsftpd, by SOCKS%i',
    async (version) => {
      const fixture = await startServer({ commands: ['connect', 'bind'], socks4: true })
      const told: EstablishedInfo[] = []
      fixture.server.on('established', (info) => told.push(info))
      const directory = mkdtempSync(join(tmpdir(), 'tubesock-ftp-client-'))
      cleanup(() => rmSync(directory, { recursive: true, force: true }))
      const commands = [
        `open 127.0.0.1 ${server().port}`,
        'user anonymous x',
        'binary',
        'cd pub',
        'get file.bin',
        'quit',
      ]
      const { code, stdout, stderr } = await run(socksify, [ftp, '-n', '-v', '-A'], {
        input: `${commands.join('\n')}\n`,
        cwd: directory,
        env: {
          ...process.env,
          SOCKS_CONF: socksConfiguration(directory, fixture.port, version),
          // Loopback is a network of this host, which it would go to directly.
          SOCKS_AUTOADD_LANROUTES: 'no',
        },
      })
      expect(`${stdout}${stderr}`).toContain('226 Transfer complete')
      expect(code).toBe(0)
      const fetched = readFileSync(join(directory, 'file.bin'))
      expect(sha256(fetched)).toBe(sha256(FILE))
      expect(told.map(({ command }) => command)).toEqual(['connect', 'bind'])
    },
  )
})

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
