// Other people's servers, on free loopback ports.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll } from 'vitest'
import { isListening, Program, plainEnvironment } from '../support/cli.js'
import { findProgram } from '../support/programs.js'
import { cleanup } from '../support/servers.js'

/** A SOCKS server that several tests use. */
export interface Peer {
  readonly port: number
  /** Stops its processes where they stand: the kernel still accepts connections, nobody answers. */
  suspend(): void
  resume(): void
  stop(): Promise<void>
}

/** A process, and what it starts, that outlives one test. */
export class Daemon {
  readonly #child: ChildProcess
  readonly #directory: string
  readonly #ended: Promise<unknown>
  readonly #killAtExit = (): void => this.signal('SIGKILL')
  #log = ''
  #hasEnded = false
  #wake: () => void = () => {}

  /** `directory` is removed when it stops. */
  constructor(file: string, args: readonly string[], directory: string) {
    // A group of its own, because these servers fork; therefore nobody else would end it with the tests.
    this.#child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true, env: plainEnvironment() })
    this.#directory = directory
    process.on('exit', this.#killAtExit)
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString()
      this.#wake()
    })
    this.#ended = new Promise<void>((resolve) => {
      const onEnd = (): void => {
        this.#hasEnded = true
        this.#wake()
        resolve()
      }
      this.#child.on('error', onEnd)
      this.#child.on('exit', onEnd)
    })
  }

  /** Resolves when its log has a match. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#log)) {
      this.#assertRunning()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Resolves when it listens: for programs that do not say so. */
  async listens(port: number): Promise<void> {
    while (!(await isListening(port))) {
      this.#assertRunning()
      await sleep(5)
    }
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, signal)
    } catch {
      // All of it is gone.
    }
  }

  async stop(): Promise<void> {
    this.signal('SIGKILL')
    await this.#ended
    process.off('exit', this.#killAtExit)
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #assertRunning(): void {
    if (this.#hasEnded) throw new Error(`ended early: ${this.#log}`)
  }
}

/**
 * Starts something for all tests of the surrounding `describe` and stops it after them; not at all where a program is
 * missing, which `requireProgram` tells. Returns how to get it in a test.
 */
export function shared<T extends { stop(): Promise<void> }>(
  programs: readonly string[],
  start: () => Promise<T>,
): () => T {
  let value: T | undefined
  beforeAll(async () => {
    if (programs.every((program) => findProgram(program) !== undefined)) value = await start()
  })
  afterAll(() => value?.stop())
  return () => {
    if (value === undefined) throw new Error('it was not started')
    return value
  }
}

/** Rofl0r's server; with a user it admits nobody else. */
export async function startMicrosocks(user?: { readonly username: string; readonly password: string }): Promise<Peer> {
  const port = await freePort()
  const login = user === undefined ? [] : ['-u', user.username, '-P', user.password]
  const daemon = new Daemon('microsocks', ['-i', '127.0.0.1', '-p', String(port), ...login], temporaryDirectory())
  await daemon.listens(port)
  return peer(daemon, port)
}

/** Inferno Nettverk's server. Its users are the system's own. */
export async function startDante(method: 'none' | 'username' = 'none'): Promise<Peer> {
  const port = await freePort()
  const directory = temporaryDirectory()
  const file = join(directory, 'danted.conf')
  const user = userInfo().username
  const config = [
    'logoutput: stderr',
    `internal: 127.0.0.1 port = ${port}`,
    'external: lo',
    'clientmethod: none',
    `socksmethod: ${method}`,
    `user.privileged: ${user}`,
    `user.unprivileged: ${user}`,
    'client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }',
    'socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }',
    'socks pass { from: 127.0.0.0/8 to: ::/0 }',
  ]
  writeFileSync(file, `${config.join('\n')}\n`)
  const daemon = new Daemon('danted', ['-f', file], directory)
  await daemon.says(/ running$/m)
  return peer(daemon, port)
}

/** An sshd that admits the one who runs the tests, with a key of its own. */
export interface Sshd {
  readonly port: number
  readonly username: string
  /** For ssh and scp: the key, and nothing of the user's own configuration. */
  readonly options: readonly string[]
  stop(): Promise<void>
}

/** OpenSSH's server on 127.0.0.1. */
export async function startSshd(): Promise<Sshd> {
  const port = await freePort()
  const directory = temporaryDirectory()
  const [hostKey, key, file] = ['host_key', 'key', 'sshd_config'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ] // as many as names
  for (const path of [hostKey, key]) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path])
  const config = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${key}.pub`,
    'PidFile none',
    'UsePAM no',
    // Temporary directories are everybody's to write.
    'StrictModes no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    'PrintMotd no',
    'MaxStartups 100',
    'Subsystem sftp internal-sftp',
  ]
  writeFileSync(file, `${config.join('\n')}\n`)
  // Where root's sshd locks itself in; a package that has not started its service has not made it.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
  // It insists on an absolute path, to start itself again for each connection.
  const daemon = new Daemon(findProgram('sshd') ?? 'sshd', ['-D', '-e', '-f', file], directory)
  await daemon.says(/Server listening on 127\.0\.0\.1/)
  const known = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes', 'IdentitiesOnly=yes']
  return {
    port,
    username: userInfo().username,
    options: ['-F', 'none', '-i', key, ...known.flatMap((option) => ['-o', option])],
    stop: () => daemon.stop(),
  }
}

/** `ssh -D`: the SOCKS server of OpenSSH's client, through an sshd of its own. */
export async function startDynamicForward(): Promise<Peer> {
  const sshd = await startSshd()
  const port = await freePort()
  const where = ['-N', '-v', '-D', `127.0.0.1:${port}`, '-o', 'ExitOnForwardFailure=yes', '-p', String(sshd.port)]
  const daemon = new Daemon('ssh', [...sshd.options, ...where, `${sshd.username}@127.0.0.1`], temporaryDirectory())
  await daemon.says(/Local forwarding listening on 127\.0\.0\.1/)
  return {
    ...peer(daemon, port),
    stop: async () => {
      await daemon.stop()
      await sshd.stop()
    },
  }
}

function peer(daemon: Daemon, port: number): Peer {
  return {
    port,
    suspend: () => daemon.signal('SIGSTOP'),
    resume: () => daemon.signal('SIGCONT'),
    stop: () => daemon.stop(),
  }
}

/**
 * The port of a target that never answers a SYN: a process that listens, is stopped, and has its queue full.
 * Until the test is over.
 */
export async function silentPort(): Promise<number> {
  const script = `
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      process.stdout.write(server.address().port + '\\n', () => process.kill(process.pid, 'SIGSTOP'))
    })`
  const program = new Program(process.execPath, ['-e', script])
  const port = Number((await program.output(/^(\d+)\n/))[1])
  // Linux queues one connection more than the backlog says.
  for (const _ of [1, 2]) {
    const socket = connect(port, '127.0.0.1')
    cleanup(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
  }
  return port
}

/** A directory for the time of one test. */
export function testDirectory(): string {
  const directory = temporaryDirectory()
  cleanup(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  return directory
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'tubesock-'))
}

/**
 * A port for a program that cannot choose one itself. Below the range from which systems choose, or another test would
 * soon have it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 18_000)
    const server = createServer()
    try {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
      return port
    } catch {
      // Taken.
    } finally {
      await new Promise((resolve) => server.close(resolve))
    }
  }
}
