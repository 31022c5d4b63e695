// Package userns gives pods with hostUsers: false their ranges of user and group ids.
//
// A range is allocated before the pod's sandbox is made, stored, and given back when
// nothing of the pod is left. No two pods have ids in common, so that one who breaks out
// of its container owns nothing of another pod or of the host. After a restart the ranges
// are read from the store, and from the annotations of sandboxes: the store may have been
// lost while pods run.
//
// The ids come from the lines of the user kubelet in /etc/subuid and /etc/subgid, or are
// all but those of the host itself. A program (getsubids) is never started for them.
//
// An Allocator may be used by several goroutines. The package is internal to edged.
package userns
