// Package podlogs knows where the logs of pods lie on the disk, in the layout that
// log collectors expect of a kubelet:
// <root>/<namespace>_<pod>_<uid>/<container>/<restart count>.log.
package podlogs
