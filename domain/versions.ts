/** The versions at which a writer takes a thing to be; `*` is any, as long as there is the thing. */
export type WantedVersions = '*' | readonly number[];

/** Whether a thing at this version is what the writer takes it to be. */
export const isWanted = (version: number, wanted: WantedVersions | undefined): boolean =>
  wanted === undefined || wanted === '*' || wanted.includes(version);
