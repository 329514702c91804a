import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { type BuildOptions, build } from 'esbuild'
import { beforeAll, describe, expect, it } from 'vitest'

const OPTIONS = {
  entryPoints: ['src/codec/index.ts'],
  bundle: true,
  platform: 'browser',
  target: 'es2022',
  minify: true,
  metafile: true,
  write: false,
  logLevel: 'silent',
} satisfies BuildOptions

describe('the codec as a browser sees it', () => {
  let text = ''
  let imports: readonly { readonly path: string }[] = []

  beforeAll(async () => {
    const { outputFiles, metafile } = await build({ ...OPTIONS, format: 'esm' })
    text = outputFiles[0]?.text ?? ''
    imports = [...Object.values(metafile.inputs), ...Object.values(metafile.outputs)].flatMap((file) =>
      file.imports.filter(({ external, path }) => external === true || !path.startsWith('src/codec/')),
    )
  })

  it('is one bundle without an import', () => {
    const { length } = Buffer.from(text)
    console.log(`codec for the browser: ${length} bytes minified, ${gzipSync(text).length} bytes gzipped`)
    expect(length).toBeGreaterThan(1_000)
    expect(imports).toEqual([])
  })

  it('asks for no runtime, no clock, no randomness and no global state', () => {
    // The bundle also holds text for people, so words alone prove nothing: these are the forms in which code uses them.
    for (const use of [
      /\bimport\s*["'({*]/,
      /["']node:/,
      /\bBuffer\b/,
      /\bglobalThis\b/,
      /\bprocess\./,
      /\brequire\(/,
      /\bDate\b/,
      /\bperformance\./,
      /\bMath\.random\b/,
      /\bcrypto\./,
      /\bconsole\./,
      /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask|fetch|eval|Function)\(/,
    ]) {
      expect(use.test(text), String(use)).toBe(false)
    }
  })

  it('runs where there is nothing but the language, TextEncoder and TextDecoder', async () => {
    const { outputFiles } = await build({ ...OPTIONS, format: 'iife', globalName: 'codec' })
    const program = `${outputFiles[0]?.text}
      const session = new codec.ServerSession()
      session.receive(Uint8Array.of(5, 2, 0, 2, 5))
      const failed = () => { try { codec.decodeGreeting(Uint8Array.of(0x47)) } catch (error) { return error } }
      JSON.stringify({
        globals: ['process', 'Buffer', 'URL', 'setTimeout', 'crypto'].filter((name) => name in globalThis),
        greeting: codec.decodeGreeting(Uint8Array.of(5, 1, 0)),
        event: session.nextEvent(),
        text: codec.credentialsToText(codec.credentialsFromText('us\u00e9r', '')),
        destination: codec.parseDestination('[::FFFF:127.0.0.1]', 80),
        kind: codec.classifyIP(codec.parseIP('64:ff9b::a9fe:a9fe')),
        isSocksError: codec.isSocksError(failed()),
      })`
    const result: unknown = JSON.parse(runInNewContext(program, { TextEncoder, TextDecoder }))
    expect(result).toEqual({
      globals: [],
      greeting: { value: { methods: [0] }, bytesRead: 3 },
      event: { type: 'greeting', methods: [0, 2] },
      text: { username: 'us\u00e9r', password: '' },
      destination: { type: 'ipv4', host: '127.0.0.1', port: 80 },
      kind: 'link-local',
      isSocksError: true,
    })
  })
})
