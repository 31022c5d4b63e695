//go:build linux

package disktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that has mounts of its own.
const inside = "EDGEKIT_DISKTEST_INSIDE"

// Isolate runs the calling test again in a process with its own mounts, and reports whether this is
// that process. Otherwise the test has the result of that process.
func Isolate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a disk")
	}
	for _, name := range []string{"/dev/fuse", "/dev/loop-control"} {
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err != nil {
			t.Skipf("needs a disk to mount: %v", err)
		} else {
			f.Close()
		}
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4, of the package e2fsprogs")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in the process with the disk: %v", err)
	}
	return false
}

// Disk is the disk. It is on or off; New makes one that is off and empty except for its file system.
// A process of its own serves the disk: this process may block on the disk, and only the end of the
// other one frees it then.
type Disk struct {
	folder  string    // holds the image and the mount points
	image   string    // what is on the medium while the disk is off
	ask     *os.File  // commands to the process that is the disk
	answers io.Reader // of the server, a byte each
	server  *exec.Cmd
	stop    func() // takes the disk off; nil while it is
}

// New makes a disk of size bytes with ext4 on it.
func New(t *testing.T, size int64) *Disk {
	t.Helper()
	folder := t.TempDir()
	d := &Disk{folder: folder, image: filepath.Join(folder, "image")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	t.Cleanup(d.off)
	return d
}

// On switches the disk on, mounts it and returns the folder of its files.
func (d *Disk) On(t *testing.T) string {
	t.Helper()
	d.off()
	fuseDir, dir := filepath.Join(d.folder, "device"), filepath.Join(d.folder, "files")
	for _, name := range []string{fuseDir, dir} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.start(fuseDir); err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	loop, err := attach(filepath.Join(fuseDir, fileName))
	if err == nil {
		err = unix.Mount(loop.Name(), dir, "ext4", 0, "")
	}
	d.stop = func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH) // of a disk that is cut off, it complains
		if loop != nil {
			loop.Close() // goes with its last user
		}
		_ = unix.Unmount(fuseDir, unix.MNT_DETACH)
		d.ask.Close()
		_ = d.server.Wait()
	}
	if err != nil {
		d.off()
		t.Fatalf("attaching and mounting the disk: %v", err)
	}
	return dir
}

// start starts the process that is the disk and waits until it is there.
func (d *Disk) start(mount string) error {
	read, ask, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	d.ask = ask
	d.server = exec.Command(os.Args[0])
	d.server.Env = append(os.Environ(), serving+"="+mount, imageName+"="+d.image)
	d.server.Stdin, d.server.Stderr = read, os.Stderr
	if d.answers, err = d.server.StdoutPipe(); err == nil {
		err = d.server.Start()
	}
	if err != nil {
		return err
	}
	if err := d.answered(); err != nil {
		ask.Close()
		return fmt.Errorf("the disk did not start: %w", errors.Join(err, d.server.Wait()))
	}
	return nil
}

// off unmounts the disk. Everything was written before, unless the power was cut.
func (d *Disk) off() {
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

// Cut cuts the power: nothing is written from now on. Of the writes that were not flushed, a random
// choice has reached the medium, one of them in part.
func (d *Disk) Cut(rng *rand.Rand) { d.say(cutCommand, rng.Uint64()) }

// Fail makes the disk answer each write, flush and read with an error.
func (d *Disk) Fail(errno syscall.Errno) { d.say(failCommand, uint64(errno)) }

// say sends a command and returns when it was executed.
func (d *Disk) say(command byte, argument uint64) {
	if _, err := d.ask.Write(binary.NativeEndian.AppendUint64([]byte{command}, argument)); err == nil {
		_ = d.answered() // a disk that is no more is as good as cut
	}
}

func (d *Disk) answered() error {
	_, err := io.ReadFull(d.answers, make([]byte, 1))
	return err
}

// attach makes a loop device of a file; the kernel removes it after its last user.
func attach(name string) (*os.File, error) {
	back, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 10 { // somebody else may take the number first
		var n int
		if n, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return nil, err
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		if _, statErr := os.Stat(path); os.IsNotExist(statErr) {
			_ = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n))))
		}
		var loop *os.File
		if loop, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return nil, err
		}
		cfg := unix.LoopConfig{Fd: uint32(back.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &cfg); err == nil {
			return loop, nil
		}
		loop.Close()
	}
	return nil, err
}
