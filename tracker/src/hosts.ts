// Hosts that a site lists.

/** Say whether a list has this host: by its name, or below an entry that begins with a dot. */
export const lists = (hosts: string[], host: string): boolean =>
  !!host && hosts.some((one) => (one.startsWith(".") ? host.endsWith(one) : host == one));
