import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PASSWORD, USER } from '../client/hygiene.js'
import { CLI, plainEnvironment, type Result, run, startServe, tubesock } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { refusedPort } from '../support/targets.js'
import { note, proveConnect, proveFailedLogins, proveTimeout, proxyUrl, type Subject } from './cases.js'
import { shared, startDynamicForward, startSshd, testDirectory } from './peers.js'
import { largeFile, sha256 } from './site.js'

describe('ssh -D', () => {
  const programs = [requireProgram('sshd', 'openssh-server'), requireProgram('ssh', 'openssh-client')]
  const peer = shared(programs, startDynamicForward)
  // It knows no reply for a target that refuses: it closes, once it has taken the request (C70).
  const subject: Subject = {
    name: 'ssh -D',
    port: () => peer().port,
    refused: { code: 'ERR_SOCKS_CONNECTION_CLOSED' },
  }

  proveConnect(subject)
  proveTimeout(subject, peer)
  // Nor one for a client that offers nothing else than a password.
  proveFailedLogins(subject, [
    {
      what: 'password insisted on',
      userinfo: `${USER}:${PASSWORD}`,
      requireAuth: true,
      code: 'ERR_SOCKS_CONNECTION_CLOSED',
    },
  ])
})

describe('ssh with tubesock connect as its ProxyCommand', () => {
  const programs = [requireProgram('sshd', 'openssh-server'), requireProgram('ssh', 'openssh-client')]
  const scp = requireProgram('scp', 'openssh-client')
  const sshd = shared(programs, startSshd)

  it('runs a command, by a name that the proxy looks up, with the password in TUBESOCK_PROXY', async () => {
    const { port } = await startServe(['--user', `${USER}:${PASSWORD}`])
    const { code, stdout } = await ssh(`${command('connect')} %h %p`, ['cat; echo done; exit 7'], {
      host: 'localhost',
      input: 'from stdin\n',
      proxy: proxyUrl(port, `${USER}:${PASSWORD}`),
    })
    // The exit code of the remote command, as without a proxy.
    expect({ code, output: stdout.toString() }).toEqual({ code: 7, output: 'from stdin\ndone\n' })
    note('OpenSSH ProxyCommand', 'command', 'output and exit code arrive')
  })

  it('scp: 64 MiB there (by SFTP) and back (by its old protocol) are unchanged', async () => {
    const { port } = await startServe(['--user', `${USER}:${PASSWORD}`])
    const env = environment(proxyUrl(port, `${USER}:${PASSWORD}`))
    const file = largeFile(64)
    const directory = testDirectory()
    const path = (name: string): string => join(directory, name)
    const remote = `${sshd().username}@127.0.0.1:${path('remote')}`
    writeFileSync(path('local'), file.content)
    for (const [options, from, to, result] of [
      [[], path('local'), remote, path('remote')],
      [['-O'], remote, path('back'), path('back')],
    ] as const) {
      const args = [...sshd().options, '-q', ...options, ...through(`${command('connect')} %h %p`), '-P', sshdPort()]
      const { code, stderr } = await run(scp, [...args, from, to], { env })
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(sha256(readFileSync(result))).toBe(file.digest)
    }
    note('OpenSSH ProxyCommand', 'scp', '64 MiB each way, equal SHA-256')
  })

  it('a proxy that is down is named in one line, and ssh fails', async () => {
    const port = await refusedPort()
    const { code, stderr } = await ssh(`${command('connect')} %h %p`, ['true'], { proxy: proxyUrl(port) })
    expect(code).toBe(255)
    expect(stderr.split('\n').filter((line) => line.startsWith('tubesock'))).toEqual([
      `tubesock connect: proxy socks5h://127.0.0.1:${port}, asked for 127.0.0.1:${sshdPort()}: ` +
        'failed while connecting to it (ECONNREFUSED)',
    ])
  })

  it('an sshd that is down is told by the proxy, and ssh fails', async () => {
    const { port } = await startServe()
    const down = await refusedPort()
    const { code, stderr } = await ssh(`${command('connect')} %h ${down}`, ['true'], { proxy: proxyUrl(port) })
    expect(code).toBe(255)
    expect(stderr).toContain(
      `tubesock connect: proxy socks5h://127.0.0.1:${port}, asked for 127.0.0.1:${down}: connection refused\n`,
    )
  })

  const sshdPort = (): string => String(sshd().port)

  function ssh(
    proxyCommand: string,
    remoteCommand: readonly string[],
    { host = '127.0.0.1', input, proxy }: { host?: string; input?: string; proxy: string },
  ): Promise<Result> {
    const args = [...sshd().options, '-T', ...through(proxyCommand), '-p', sshdPort(), `${sshd().username}@${host}`]
    return run('ssh', [...args, ...remoteCommand], { input, env: environment(proxy) })
  }
})

describe('tubesock connect through servers of ours', () => {
  it.each([0, 1, 2])('names hop %s of three when it is down: one line, exit code 1', async (down) => {
    const servers = await Promise.all([startServe(), startServe(), startServe()])
    const ports = servers.map(({ port }) => port)
    ports[down] = await refusedPort()
    const proxies = ports.flatMap((port) => ['--proxy', proxyUrl(port)])
    const { code, stdout, stderr } = await tubesock(['connect', '-v', ...proxies, '127.0.0.1', '9'])
    const lines = stderr.trimEnd().split('\n')
    const [where, what] =
      down === 0 ? [0, 'failed while connecting to it (ECONNREFUSED)'] : [down - 1, 'connection refused']
    expect({ code, output: stdout.length }).toEqual({ code: 1, output: 0 })
    expect(lines.at(-1)).toBe(
      `tubesock connect: proxy ${proxyUrl(ports[where] ?? 0)} (hop ${where + 1} of 3), asked for ` +
        `127.0.0.1:${ports[where + 1] ?? 9}: ${what}`,
    )
    // Before it, with -v, the hops that have said yes.
    const passed = ports
      .slice(0, where)
      .map((port, hop) => `hop ${hop + 1}: ${proxyUrl(port)} -> 127.0.0.1:${ports[hop + 1]}`)
    expect(lines.slice(0, -1).map((line) => line.split(', BND 127.0.0.1:')[0])).toEqual(passed)
    note('tubesock connect', `hop ${down} down`, lines.at(-1)?.replaceAll(/127\.0\.0\.1:\d{2,}/g, '127.0.0.1:PORT'))
  })
})

/** `tubesock` for a shell. */
function command(name: string): string {
  return `'${process.execPath}' '${CLI}' ${name}`
}

function through(proxyCommand: string): readonly string[] {
  return ['-o', `ProxyCommand=${proxyCommand}`]
}

function environment(proxy: string): NodeJS.ProcessEnv {
  return { ...plainEnvironment(), TUBESOCK_PROXY: proxy }
}
