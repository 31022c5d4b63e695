// Package volume prepares the volumes of pods on a node: folders, content and
// mounts that containers then bind. It knows emptyDir (on disk, in memory, on
// huge pages), hostPath, configMap, secret, downwardAPI and projected volumes,
// service account tokens included; NFS; and persistent volumes (hostPath, local,
// NFS, CSI) by claims and as generic ephemeral volumes. A volume that is an image is the
// runtime's.
//
//	volumes, err := volume.New(volume.Config{Root: "/var/lib/edgekit/edged", Source: objects})
//	prepared, err := volumes.SetUp(ctx, pod, allocatable)
//	path, err := volumes.Path(pod, "settings")
//	...
//	err = volumes.TearDown(string(pod.UID))
//
// SetUp may be called again at any time: it brings what is there in line with
// what is wanted. Refresh does the same for a pod that runs: it does not check
// again what the host has. Content changes as a whole: a reader sees all files of the
// old state or all of the new one, through the link "..data". Secrets, tokens
// and the downward API are kept in memory (tmpfs, not swapped from Linux 6.4 on);
// where the program may not mount, in folders, which is logged and
// passed to Config.OnDisk. The mode and owner of an emptyDir are the pod's once it is made.
//
// A volume that outlives its pod is recorded in the pod's folder before it is mounted,
// so that containers, TearDown and a restarted agent find it without the claim. A
// persistent volume that is a path of the host is not mounted at all.
//
// A volume that the cloud attaches (CSIDriver.spec.attachRequired) is listed by InUse from
// before it is waited for until it is given back, and mounted once the Node and the
// VolumeAttachment say that it is attached.
//
// TearDown unmounts what SetUp, SubPath and the pod's containers mounted below
// the pod's folder, and never a mount of the host: an unmount does not spread. It removes
// folders without ever descending into a mount, also one that appears meanwhile:
// what is in a volume is the volume's.
//
// A Manager may be used by several goroutines, but only by one at a time for
// each pod.
package volume
