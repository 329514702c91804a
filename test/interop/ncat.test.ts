import { describe, expect, it } from 'vitest'
import { type Result, run, type StartOptions, startServe } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { refusedPort } from '../support/targets.js'
import { startAnswerAfterFin } from './fin.js'
import { largeFile, PAGE, sha256, startSite } from './site.js'

const REQUEST = 'GET / HTTP/1.0\r\n\r\n'

describe('ncat', () => {
  const program = requireProgram('ncat', 'ncat')

  it.each([
    ['127.0.0.1', '127.0.0.1', []],
    ['127.0.0.1', 'localhost', ['--proxy-dns', 'remote']],
    ['::1', '::1', []],
  ])(
    'S81 S86 prints the page of a site on %s, asked for as %s, though its FIN follows the request',
    async (site, host, options) => {
      const { port } = await startSite(site)
      const { address } = await startServe()
      const { code, stdout } = await ncat(address, [...options, host, String(port)], { input: REQUEST })
      expect(code).toBe(0)
      expect(stdout.toString()).toMatch(new RegExp(`^HTTP/1\\.1 200 OK\r\n.*\r\n\r\n${PAGE}$`, 's'))
    },
  )

  it('logs in with --proxy-auth', async () => {
    const { port } = await startSite()
    const { address } = await startServe(['--user', 'ann:secret'])
    const page = await ncat(address, ['--proxy-auth', 'ann:secret', '127.0.0.1', String(port)], { input: REQUEST })
    expect(page.stdout.toString()).toContain(PAGE)
  })

  it('S22 is turned away with a wrong password', async () => {
    const { port } = await startSite()
    const { address, program: serve } = await startServe(['--user', 'ann:secret'])
    const page = await ncat(address, ['--proxy-auth', 'ann:wrong', '127.0.0.1', String(port)], { input: REQUEST })
    expect(page.code).not.toBe(0)
    expect(page.stdout.length).toBe(0)
    await serve.output(/ERR_SOCKS_AUTH_FAILED/, 'stderr')
  })

  it('S71 is told that a connection was refused', async () => {
    const { address } = await startServe()
    const { code, stderr } = await ncat(address, ['-v', '127.0.0.1', String(await refusedPort())], { input: REQUEST })
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/connection refused/i)
  })

  it('S81 8 MiB each way, the answer after the FIN of the client', async () => {
    const question = largeFile(8)
    const answer = largeFile(8)
    const digests: string[] = []
    const target = await startAnswerAfterFin((received) => {
      digests.push(sha256(received))
      return answer.content
    })
    const { address } = await startServe(['--user', 'ann:secret'])
    const args = ['--proxy-auth', 'ann:secret', '127.0.0.1', String(target.port)]
    const { code, stdout } = await ncat(address, args, { input: question.content })
    expect({ code, digest: sha256(stdout) }).toEqual({ code: 0, digest: answer.digest })
    expect(digests).toEqual([question.digest])
  })

  function ncat(proxy: string, args: readonly string[], options: StartOptions): Promise<Result> {
    return run(program, ['--proxy', proxy, '--proxy-type', 'socks5', ...args], options)
  }
})
