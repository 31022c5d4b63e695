// Package upgrade replaces the program on a node, and survives a power cut at any step.
//
// The program of the package (/usr/bin/edgecore) is the base. Beside it there are two slots
// for programs that were downloaded, and one small file, the boot record:
//
//	DATA-DIR/slots/a/{edgecore,edgectl,manifest.json}
//	DATA-DIR/slots/b/{edgecore,edgectl,manifest.json}
//	DATA-DIR/slots/boot        which program runs, and what is being tried
//	DATA-DIR/slots/boot.prev   the boot record before
//	DATA-DIR/slots/trial.log   the end of the log of the latest trial
//
// The base is what systemd starts. The first thing that it does is Boot: it reads the boot
// record and replaces itself by the program of a slot (execve, same process). Without a boot
// record Boot opens two files that are not there, and is done.
//
// # The way of an upgrade
//
//	Idle ──Download──> Downloading ──> Verified ──Switch──> Trial ──> Committed
//	                                                          └─────> RolledBack
//
// Download fetches and verifies a program into the free slot. It is idempotent, and goes on
// where it was interrupted. Switch begins the trial: the caller then stops the program in
// order, and Boot starts the slot's. In that program Run judges the trial by a health gate:
// there is a link if there was one before, the pods that were ready before are ready, and
// this for some time (Health). Then Run commits: an explicit, durable step. Otherwise it
// rolls back: it records the reason, and returns ErrRestart.
//
// # What a power cut does
//
// Each step is one write of the boot record: a new file, synced, renamed, and the folder
// synced. A cut leaves the record before or the one after.
//
//   - Boot counts a start of a trial durably before it starts the program. If it cannot count,
//     it does not start it.
//   - A trial that was started and neither committed nor stopped in order has failed: the next
//     Boot rolls back, whatever the reason was. A trial that was stopped in order (Stopped) is
//     started again, at most MaxTries times in all.
//   - A slot's program that is missing, damaged or of another architecture is not run: the
//     committed program or the base is.
//   - A damaged boot record is none: the base runs.
//
// So there is always a program, and it is never one that was started and not committed.
//
// # The base wins
//
// The record has the digest of the base. When a package upgrade has put another one there, Boot
// lets it run and forgets the slots. What a package installs is never hidden by an old slot.
//
// # The store
//
// A program brings the node's store to its own format. Download refuses a program that could
// not read the store as it is, and one whose store the program that it would be rolled back
// to, or the base, could not read (FormatError).
//
// # What is checked when
//
// The digest of a slot's program is checked after the download and at each start of a trial,
// which reads the file once. At other starts its size, mode and owner are checked. The base is
// read again only if its size, time or inode have changed.
//
// # Settings
//
// A Settings tries other content of the configuration file in the same way: BootSettings puts it in
// the place of the file and counts the start, Run judges it by the same gate, and the content
// before comes back when the trial fails. Its record is DATA-DIR/slots/settings.
//
// # Concurrency and stability
//
// All methods of an Upgrader and of a Settings may be called by several goroutines. Downloads wait for each
// other. The form of the boot record has a version; a base that does not know it runs itself.
// The package knows nothing of jobs: the runner of jobs passes an ID through it (Request.ID,
// Outcome.ID). Package edged/upgrade/artifact fetches and verifies.
package upgrade
