package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

// machine is one emulated machine. Its methods are called from one goroutine.
type machine struct {
	site   *site.Site
	dir    string // disk, logs, kernel, ssh key
	arch   string
	accel  string
	port   int // of ssh, on the host's loopback
	memory int // MiB

	session *exec.Cmd     // the ssh connection that all commands share
	closed  chan struct{} // closed when session has ended
}

// emulator is the name of qemu in the table of the site's programs, which ends it whatever
// becomes of this program.
const emulator = "machine"

// bootLimit is for a processor that is emulated on busy cores.
const bootLimit = 15 * time.Minute

func (m *machine) console() string { return filepath.Join(m.dir, "console.log") }

// boot starts the machine and waits until it answers. It runs until cut, powerOff or
// remove, or until the site is removed. Without a network only the host's own
// ssh reaches it, and it reaches nothing.
func (m *machine) boot(ctx context.Context, network bool) error {
	link := "user,id=net,hostfwd=tcp:127.0.0.1:" + strconv.Itoa(m.port) + "-:22"
	if !network {
		link += ",restrict=on"
	}
	program, tty, cpu := "qemu-system-x86_64", "ttyS0", []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
	if m.accel == "kvm" {
		cpu = []string{"-accel", "kvm", "-cpu", "host"}
	}
	if m.arch == "arm64" {
		program, tty, cpu = "qemu-system-aarch64", "ttyAMA0", []string{"-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	// No cache: what the machine's kernel has flushed to its disk is in the file when the emulator is killed.
	spec := process.Spec{Name: emulator, Path: path, Args: append(cpu, "-m", strconv.Itoa(m.memory), "-smp", "2", "-display", "none", "-no-reboot",
		"-chardev", "file,id=console,append=on,path="+m.console(), "-serial", "chardev:console",
		"-kernel", filepath.Join(m.dir, "kernel"), "-initrd", filepath.Join(m.dir, "initrd"),
		"-append", "root=/dev/vda rw quiet edd=off console="+tty,
		"-drive", "if=virtio,format=raw,cache=none,file="+filepath.Join(m.dir, "disk"),
		"-netdev", link, "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci")}
	starts := 0
	err = await(ctx, bootLimit, func(ctx context.Context) error {
		if !m.runs() && starts < 10 { // it has not begun, or the threads of the one that was killed still had the disk or the port
			starts++
			said, _ := m.site.Processes().Tail(emulator, 3) // there may be no log yet
			r, err := m.site.Start(spec)
			if err != nil {
				return err
			}
			// Without the priority the machine is slower, and no more.
			return errors.Join(keepPriority("/proc", r.PID), errors.New("the emulator has just begun: "+said))
		}
		if !m.runs() {
			return nil // connect is not asked any more
		}
		return m.connect(ctx)
	})
	if err == nil && !m.runs() {
		said, _ := m.site.Processes().Tail(emulator, 3)
		err = errors.New("the emulator ends: " + said)
	}
	if err != nil {
		return fmt.Errorf("the machine does not answer: %w: %s", err, lastLines(m.console(), 5))
	}
	return nil
}

func (m *machine) runs() bool {
	r, err := m.site.Processes().Lookup(emulator)
	return err == nil && r.Alive()
}

// sshArgs are the options of every ssh command.
func (m *machine) sshArgs() []string {
	return []string{"-i", filepath.Join(m.dir, "key"), "-p", strconv.Itoa(m.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10", "-o", "ControlPath=" + filepath.Join(m.dir, "ssh"), "-F", "none"}
}

func (m *machine) sshLine() string {
	return "ssh -i " + filepath.Join(m.dir, "key") + " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p " + strconv.Itoa(m.port) + " root@127.0.0.1"
}

// connect opens the connection that the commands share: its handshake is slow in an emulator.
func (m *machine) connect(ctx context.Context) error {
	m.disconnect()
	session := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(m.sshArgs(), "-M", "-N", "root@127.0.0.1")...)
	session.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	session.Stderr = &said
	if err := session.Start(); err != nil {
		return err
	}
	closed := make(chan struct{})
	m.session, m.closed = session, closed
	go func() { // ends with ssh, for which disconnect waits
		_ = session.Wait()
		close(closed)
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(m.dir, "ssh")); err == nil {
			return nil
		}
		select {
		case <-closed:
			m.session = nil
			return errors.New("ssh: " + strings.TrimSpace(said.String()))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (m *machine) disconnect() {
	if m.session != nil {
		_ = m.session.Process.Kill() // it may have ended
		<-m.closed
		m.session = nil
	}
	_ = os.Remove(filepath.Join(m.dir, "ssh")) // a killed ssh leaves its socket
}

// run runs a shell command as root in the machine and gives its standard output. The error of
// one that fails has the end of both outputs.
func (m *machine) run(ctx context.Context, script string) (string, error) {
	if m.session == nil {
		return "", errors.New("the machine does not run")
	}
	select {
	case <-m.closed: // the connection broke, as it may when the machine has no time for long
		if err := await(ctx, 2*time.Minute, m.connect); err != nil {
			return "", err
		}
	default:
	}
	cmd := exec.CommandContext(ctx, "ssh", append(m.sshArgs(), "root@127.0.0.1", script)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", firstLine(script), err, end(stdout.String()+stderr.String(), 600))
	}
	return stdout.String(), nil
}

// cut pulls the power: nothing that the machine has in memory reaches its disk.
func (m *machine) cut(ctx context.Context) error {
	m.disconnect()
	return m.site.Processes().Kill(ctx, emulator)
}

// powerOff stops the machine in order.
func (m *machine) powerOff(ctx context.Context) error {
	if _, err := m.run(ctx, "systemctl poweroff --no-block"); err != nil {
		return err
	}
	if err := await(ctx, 10*time.Minute, func(context.Context) error {
		if m.runs() {
			return errors.New("the machine does not power off: " + lastLines(m.console(), 5))
		}
		return nil
	}); err != nil {
		return err
	}
	return m.cut(ctx) // nothing but its record is left
}

// remove ends the machine and removes its folder.
func (m *machine) remove(ctx context.Context) error {
	return errors.Join(m.cut(ctx), os.RemoveAll(m.dir))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// end is the last part of a text.
func end(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}

func lastLines(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
