package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/image"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

// The images of the machine's pods. There is no registry.
const (
	pauseImage   = devcluster.PauseImage
	busyboxImage = "docker.io/library/busybox:latest"
)

// diskSize leaves some 2.5 GiB to pods.
const diskSize = "4G"

// memoryMiB leaves some 1 GiB to pods.
const memoryMiB = 1536

// workshop has what machines are made of.
type workshop struct {
	site *site.Site
	opts options
	dir  string // kernel, initrd, disk and key that machines are copied from

	releasePort int // where this program serves the releases
}

// prepare brings up the cluster and makes the disk that every machine starts with.
func (w *workshop) prepare(ctx context.Context) error {
	s := w.site
	packages := []devcluster.Package{
		{Name: "qemu-system-x86", Present: devcluster.Command("qemu-system-x86_64")},
		{Name: "mmdebstrap", Present: devcluster.Command("mmdebstrap")},
		{Name: "e2fsprogs", Present: devcluster.Command("mke2fs")},
		{Name: "openssh-client", Present: devcluster.Command("ssh")},
	}
	if w.opts.Arch == "arm64" {
		packages[0] = devcluster.Package{Name: "qemu-system-arm", Present: devcluster.Command("qemu-system-aarch64")}
		packages = append(packages,
			devcluster.Package{Name: "qemu-user-static", Present: devcluster.Command("qemu-aarch64-static")},
			devcluster.Package{Name: "binfmt-support", Present: devcluster.Command("update-binfmts")})
	}
	began := time.Now()
	fmt.Println("cluster: bringing up in", s.Dir())
	if _, err := s.Up(ctx); err != nil {
		return err
	}
	if err := s.Install(ctx, packages...); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	if err := s.StartCloud(ctx); err != nil {
		return err
	}
	fmt.Printf("cluster: up in %v; the machine's disk\n", time.Since(began).Round(time.Second))
	began = time.Now()
	if err := w.disk(ctx); err != nil {
		return err
	}
	fmt.Printf("the disk took %v\n", time.Since(began).Round(time.Second))
	return nil
}

// machine makes the machine of a leg, with a disk of its own.
func (w *workshop) machine(ctx context.Context, v variant) (*machine, error) {
	ports, err := devcluster.FreePorts(1)
	if err != nil {
		return nil, err
	}
	m := &machine{site: w.site, dir: filepath.Join(w.site.Dir(), "machine"), arch: w.opts.Arch, accel: w.opts.Accel, port: ports[0], memory: memoryMiB}
	if w.opts.Again {
		b, err := os.ReadFile(filepath.Join(m.dir, "port"))
		if err == nil {
			m.port, err = strconv.Atoi(string(b))
		}
		if err == nil {
			err = m.connect(ctx)
		}
		return m, err
	}
	if err := errors.Join(os.RemoveAll(m.dir), os.MkdirAll(m.dir, 0o700)); err != nil {
		return nil, err
	}
	for _, file := range []string{"disk", "kernel", "initrd", "key"} {
		if _, err := command(ctx, "cp", "--sparse=always", "--preserve=mode", filepath.Join(w.dir, file), m.dir); err != nil {
			return nil, err
		}
	}
	return m, os.WriteFile(filepath.Join(m.dir, "port"), []byte(strconv.Itoa(m.port)), 0o600)
}

// packages of the machine, beside Debian's essential ones. %s is the processor.
const debianPackages = "systemd-sysv,dbus,udev,linux-image-cloud-%s,iproute2,iptables,containerd,runc,containernetworking-plugins," +
	"ca-certificates,openssh-server,mosquitto-clients,busybox-static,procps"

// debian gives the archive of a fresh Debian 12, which is made once.
func (w *workshop) debian(ctx context.Context) (string, error) {
	dir, err := cacheFolder("debian")
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "bookworm-"+w.opts.Arch+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	if w.opts.Arch != "amd64" { // the packages' scripts run by qemu's user emulation
		if _, err := os.Stat("/proc/sys/fs/binfmt_misc/register"); err != nil {
			if _, err := command(ctx, "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"); err != nil {
				return "", err
			}
		}
		if _, err := command(ctx, "update-binfmts", "--enable", "qemu-aarch64"); err != nil {
			return "", err
		}
	}
	fmt.Println("  installing a Debian 12 for", w.opts.Arch, "in", archive)
	fresh := filepath.Join(dir, "new-bookworm-"+w.opts.Arch+".tar")
	// The initrd gets what the emulator has and no more: it is made by the machine's own processor, and read at each boot.
	const initrd = `mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/vm"
printf 'virtio_pci\nvirtio_blk\ncrc32c_generic\next4\n' > "$1/usr/share/initramfs-tools/modules.d/vm"`
	if _, err := command(ctx, "mmdebstrap", "--architectures="+w.opts.Arch, "--variant=minbase", "--essential-hook="+initrd,
		"--include="+fmt.Sprintf(debianPackages, w.opts.Arch), "bookworm", fresh); err != nil {
		return "", err
	}
	return archive, os.Rename(fresh, archive)
}

// disk makes the disk, and what qemu needs beside it.
func (w *workshop) disk(ctx context.Context) error {
	archive, err := w.debian(ctx)
	if err != nil {
		return err
	}
	root := filepath.Join(w.dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if _, err := command(ctx, "tar", "-C", root, "-xf", archive); err != nil {
		return err
	}
	for pattern, name := range map[string]string{"vmlinuz-*": "kernel", "initrd.img-*": "initrd"} {
		files, err := filepath.Glob(filepath.Join(root, "boot", pattern))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%s has %d files /boot/%s, want 1: remove it, and it is made again", archive, len(files), pattern)
		}
		if _, err := command(ctx, "cp", files[0], filepath.Join(w.dir, name)); err != nil {
			return err
		}
	}
	if err := w.identity(ctx, root); err != nil {
		return err
	}
	if err := w.kit(ctx, root); err != nil {
		return err
	}
	if _, err := command(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, filepath.Join(w.dir, "disk"), diskSize); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// identity sets up name, network and access. The network is that of qemu, whose host is 10.0.2.2.
func (w *workshop) identity(ctx context.Context, root string) error {
	key := filepath.Join(w.dir, "key")
	if _, err := command(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
		return err
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"etc/hostname": "edge-vm\n",
		"etc/hosts":    "127.0.0.1 localhost edge-vm\n",
		"etc/fstab":    "/dev/vda / ext4 defaults 0 1\n",
		// Only the machine's own link: pods have links too.
		"etc/systemd/network/20-host.network": "[Match]\nName=en*\n[Network]\nAddress=" + machineIP + "/24\nGateway=10.0.2.2\n",
		"root/.ssh/authorized_keys":           string(public),
	} {
		if err := writeFile(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	_ = os.Remove(filepath.Join(root, "etc/resolv.conf"))
	if err := writeFile(filepath.Join(root, "etc/resolv.conf"), "nameserver 10.0.2.3\n"); err != nil {
		return err
	}
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	return errors.Join(os.MkdirAll(wants, 0o755),
		os.Symlink("/lib/systemd/system/systemd-networkd.service", filepath.Join(wants, "systemd-networkd.service")))
}

// kit puts programs, units and images into /root/kit, from which they are installed.
func (w *workshop) kit(ctx context.Context, root string) error {
	kit := filepath.Join(root, "root", "kit")
	if err := os.MkdirAll(kit, 0o755); err != nil {
		return err
	}
	repo := w.site.Repo()
	copies := []string{filepath.Join(repo, "cmd/cloudcore/cloudcore.service"), filepath.Join(repo, "cmd/edgecore/edgecore.service"), w.site.Kubeconfig()}
	for _, pkg := range []string{"./cmd/cloudcore", "./cmd/edgecore", "./cmd/edgectl", "./examples/thermometer"} {
		name := filepath.Base(pkg)
		if w.opts.Arch == runtime.GOARCH {
			copies = append(copies, w.site.Program(name)) // the site has built it
		} else if err := w.build(ctx, repo, filepath.Join(kit, name), "build", pkg); err != nil {
			return err
		}
	}
	if !w.opts.Upgrade {
		if err := w.build(ctx, filepath.Join(repo, "cmd", "demo"), filepath.Join(kit, "standin"), "build", "./standin"); err != nil {
			return err
		}
	}
	if w.opts.Arch == "amd64" && !w.opts.Upgrade {
		if err := w.site.BuildExtra(ctx, "coredns"); err != nil {
			return err
		}
		copies = append(copies, w.site.Built("coredns"), w.site.Built("containerd"), w.site.Built("containerd-shim-runc-v2"), w.site.Built("ctr"))
	}
	for _, pkg := range w.opts.tests() {
		if err := w.build(ctx, repo, filepath.Join(kit, filepath.Base(pkg)+".test"), "test", "-c", pkg); err != nil {
			return err
		}
	}
	for _, file := range copies {
		if _, err := command(ctx, "cp", file, kit); err != nil {
			return err
		}
	}
	if w.opts.Upgrade {
		if err := w.releases(ctx, kit); err != nil {
			return err
		}
	}
	return w.images(ctx, root, kit)
}

// build runs the go command for the machine's processor.
func (w *workshop) build(ctx context.Context, module, output string, args ...string) error {
	verb, pkg := args[:len(args)-1], args[len(args)-1]
	cmd := exec.CommandContext(ctx, "go", append(verb, "-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", output, pkg)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+w.opts.Arch, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, end(string(out), 600))
	}
	return nil
}

// images makes one archive of the two images: the sandbox's and busybox.
func (w *workshop) images(ctx context.Context, root, kit string) error {
	pause := filepath.Join(w.dir, "pause")
	if err := w.build(ctx, filepath.Join(w.site.Repo(), "cmd", "cluster"), pause, "build", "./images/pause"); err != nil {
		return err
	}
	files := []image.File{{Path: "/bin/busybox", Source: filepath.Join(root, "bin", "busybox")}}
	for _, name := range strings.Fields("sh sleep cat dd echo env fallocate grep httpd ls mkdir nslookup rm seq tail test touch true wget head") {
		files = append(files, image.File{Path: "/bin/" + name, Link: "busybox"})
	}
	archive, err := os.Create(filepath.Join(kit, "images.tar"))
	if err != nil {
		return err
	}
	return errors.Join(image.Write(archive,
		image.Image{Refs: []string{pauseImage}, Entrypoint: []string{"/pause"}, Architecture: w.opts.Arch, Files: []image.File{{Path: "/pause", Source: pause}}},
		image.Image{Refs: []string{busyboxImage}, Cmd: []string{"sleep", "2147483647"}, Architecture: w.opts.Arch, Files: files}), archive.Close())
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// command runs a program on the host.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, end(string(out), 600))
	}
	return string(out), nil
}
