package oomwatch

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	global = "6,1034,5678,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/a.service,task=hungry,pid=4711,uid=0\n SUBSYSTEM=x\n"
	group  = "6,1035,5679,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/podx,task_memcg=/kubepods/podx/y,task=small,pid=12,uid=0\n"
)

func TestParse(t *testing.T) {
	for message, want := range map[string]Victim{
		global: {4711, "hungry"}, group: {}, "": {}, ";": {}, "6,1,1,-;usb 1-1: new device\n": {},
		"6,1,1,-;oom-kill:global_oom,task=x,pid=-1\n": {}, "6,1,1,-;oom-kill:global_oom,task=x,pid=max\n": {}, "6,1,1,-;oom-kill:global_oom\n": {},
		"oom-kill:global_oom,task=x,pid=1\n": {},
	} {
		v, ok := parse([]byte(message))
		if ok != (want.PID != 0) || ok && v != want {
			t.Errorf("%q: %+v %v", message, v, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(global))
	f.Add([]byte(group))
	f.Fuzz(func(t *testing.T, message []byte) {
		if v, ok := parse(message); ok && v.PID <= 0 {
			t.Errorf("%+v", v)
		}
	})
}

// TestRun reads messages of a pipe, which blocks as /dev/kmsg does.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kmsg")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Skip(err)
	}
	kernel, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	ctx, cancel := context.WithCancel(t.Context())
	victims, done := make(chan Victim, 1), make(chan error, 1)
	go func() { done <- Run(ctx, Config{File: file, Killed: func(v Victim) { victims <- v }}) }()
	if _, err := kernel.WriteString(global); err != nil {
		t.Fatal(err)
	}
	select {
	case v := <-victims:
		if v.Name != "hungry" {
			t.Errorf("%+v", v)
		}
	case err := <-done:
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestUnreadable: without the kernel's messages nothing is watched, and nothing fails.
func TestUnreadable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, Config{File: filepath.Join(t.TempDir(), "none"), Killed: func(Victim) {}}); err != nil {
		t.Error(err)
	}
	if err := Run(t.Context(), Config{}); err == nil {
		t.Error("no Killed is no error")
	}
}
