package volume

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// mounter mounts what needs a program of the host: see package mounthelper.
type mounter interface {
	// Mount mounts a file system.
	Mount(ctx context.Context, fstype, source, target string, options []string) error
	// Unmount unmounts it, also when its server does not answer.
	Unmount(ctx context.Context, target string) error
}

// networkMount bounds a mount over the network: mount.nfs itself gives up after two
// minutes.
const networkMount = 150 * time.Second

// nfs mounts an NFS volume on dir, once.
func (m *Manager) nfs(ctx context.Context, st storage, dir string) error {
	source, err := nfsSource(st.nfs)
	if err != nil {
		return err
	}
	options := st.options
	if st.readOnly {
		options = append(options[:len(options):len(options)], "ro")
	}
	if err := checkMountOptions(options); err != nil {
		return err
	}
	_, mounts, err := mountsAt(dir)
	if err != nil || len(mounts) > 0 {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, networkMount)
	defer cancel()
	return m.helper.Mount(ctx, "nfs", source, dir, options)
}

// nfsSource is the device of an NFS mount: nfs(5).
func nfsSource(n *corev1.NFSVolumeSource) (string, error) {
	server := n.Server
	if strings.Contains(server, ":") && !strings.HasPrefix(server, "[") {
		server = "[" + server + "]" // an IPv6 address
	}
	switch {
	case n.Server == "" || strings.HasPrefix(n.Server, "-") || strings.ContainsFunc(n.Server, badInSource):
		return "", fmt.Errorf("nfs.server %q is no host name or address", n.Server)
	case !path.IsAbs(n.Path) || strings.ContainsFunc(n.Path, unicode.IsControl):
		return "", fmt.Errorf("nfs.path %q is no absolute path", n.Path)
	}
	return server + ":" + n.Path, nil
}

func badInSource(r rune) bool {
	return unicode.IsControl(r) || unicode.IsSpace(r) || r == '/' || r == ','
}

// hostOptions are options by which mount(8) does something other than hand them to
// the file system: it runs another helper, sets up a device, makes or changes files
// of the host, or mounts something else than is asked for.
var hostOptions = map[string]bool{
	"bind": true, "rbind": true, "move": true, "remount": true, "loop": true, "helper": true, "uhelper": true, "user": true, "users": true,
	"owner": true, "group": true, "shared": true, "rshared": true, "slave": true, "rslave": true, "private": true, "rprivate": true,
	"unbindable": true, "runbindable": true, "comment": true,
}

// checkMountOptions refuses what is not an option of a file system.
func checkMountOptions(options []string) error {
	for _, option := range options {
		for one := range strings.SplitSeq(option, ",") {
			name, _, _ := strings.Cut(one, "=")
			lower := strings.ToLower(name)
			if one == "" || strings.ContainsFunc(one, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) || strings.HasPrefix(one, "-") {
				return fmt.Errorf("mount option %q is no option: correct mountOptions of the volume", option)
			}
			if hostOptions[lower] || strings.HasPrefix(lower, "x-") {
				return fmt.Errorf("mount option %q is one of the program mount(8), not of the file system: remove it from mountOptions of the volume", name)
			}
		}
	}
	return nil
}
