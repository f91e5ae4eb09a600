declare module 'cli-progress' {
  interface BarOptions {
    format: string
    stream: NodeJS.WritableStream
    hideCursor: boolean
    clearOnComplete: boolean
    fps: number
  }
  class SingleBar {
    constructor(options: Partial<BarOptions>, preset: object)
    start(total: number, value: number): void
    update(value: number): void
    setTotal(total: number): void
    stop(): void
  }
  const progress: { SingleBar: typeof SingleBar; Presets: { shades_classic: object } }
  export default progress
}
