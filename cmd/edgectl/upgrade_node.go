package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/jobs"
)

// jobsPath is where the node's own API has jobs.
const jobsPath = "/api/v1/taskupgrade"

// upgradeNodeCmd upgrades the edge node on this machine.
type upgradeNodeCmd struct {
	localFlags
	From    string        `arg:"" help:"The artefact: a file (an OCI image layout in a tar, on a USB stick for example), an image HOST/REPOSITORY:TAG, or a URL." placeholder:"FILE|IMAGE|URL"`
	Digest  string        `help:"Digest that the artefact must have. It must be signed by whom the node trusts, with or without one." placeholder:"sha256:HEX"`
	Timeout time.Duration `help:"How long the new program may take to become healthy before the node goes back." default:"5m"`
	Stable  time.Duration `help:"How long it must be healthy without a break." default:"1m"`
	NoWait  bool          `help:"Do not wait for the end."`
}

// Help has examples.
func (upgradeNodeCmd) Help() string {
	return "edgectl upgrade /media/usb/node.tar\nedgectl upgrade registry.example.com/edgekit/node:v1.3.0\n\nPods go on meanwhile. The cloud is not needed. If the new program is not healthy, the node goes back by itself."
}

// Run begins the upgrade, and follows it to its end.
func (u *upgradeNodeCmd) Run(ctx context.Context, out program.Output) error {
	want, err := u.request()
	if err != nil {
		return err
	}
	var began jobs.Status
	if err := u.ask(ctx, "/upgrade", want, &began); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s began\n", began.Name)
	if u.NoWait {
		return nil
	}
	return u.followJob(ctx, out, began.UID)
}

// request says where the artefact is.
func (u *upgradeNodeCmd) request() (jobs.LocalUpgrade, error) {
	want := jobs.LocalUpgrade{Digest: u.Digest, Timeout: u.Timeout, Stable: u.Stable}
	if u.Stable > u.Timeout {
		return want, &program.UsageError{Setting: "stable", Reason: fmt.Sprintf("%s is longer than --timeout, %s", u.Stable, u.Timeout)}
	}
	if info, err := os.Stat(u.From); err == nil && info.Mode().IsRegular() {
		want.File, err = filepath.Abs(u.From)
		return want, err
	}
	switch {
	case strings.HasPrefix(u.From, "http://"), strings.HasPrefix(u.From, "https://"):
		want.HTTP = u.From
	case strings.HasPrefix(u.From, "/"), strings.HasPrefix(u.From, "."), !strings.Contains(u.From, "/"):
		return want, fmt.Errorf("%s: there is no such file; an image is HOST/REPOSITORY:TAG", u.From)
	default:
		want.OCI = strings.TrimPrefix(u.From, "oci://")
	}
	return want, nil
}

// ask has the node do something about jobs.
func (f *localFlags) ask(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	answer, err := f.post(ctx, "api.sock", jobsPath+path, string(text))
	if err != nil {
		return err
	}
	defer answer.Close()
	return json.NewDecoder(answer).Decode(into)
}

// Times of following a job.
const (
	pollEvery = time.Second
	// awayFor is how long edgecore may not answer while it starts again: a slow machine may have
	// to repair its store.
	awayFor = 10 * time.Minute
)

// poll calls look once a second with what the node says of its jobs until it returns true. The
// node may be away for a while, since it starts again.
func (f *localFlags) poll(ctx context.Context, look func(jobs.List) (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	answered := time.Now()
	for {
		var list jobs.List
		err := f.read(ctx, "api.sock", jobsPath+"/jobs", "", &list)
		if err == nil {
			answered = time.Now()
			if done, err := look(list); done || err != nil {
				return err
			}
		} else if time.Since(answered) > awayFor {
			return fmt.Errorf("edgecore does not answer since it was to start again: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followJob prints the steps of a job until its end, which is an error unless it is a success.
func (f *localFlags) followJob(ctx context.Context, out io.Writer, uid string) error {
	shown := make(map[string]bool)
	return f.poll(ctx, func(list jobs.List) (bool, error) {
		for _, s := range list.Items {
			if s.UID != uid {
				continue
			}
			for _, action := range s.Actions {
				if !shown[action] && !strings.HasSuffix(action, " Unknown") {
					fmt.Fprintln(out, action)
				}
				shown[action] = true
			}
			if !s.Finished() {
				return false, nil
			}
			if s.Phase == "Successful" {
				fmt.Fprintln(out, "Successful")
				return true, nil
			}
			if s.Log != "" {
				fmt.Fprintf(out, "the end of the log of the program that was tried:\n%s\n", strings.TrimRight(s.Log, "\n"))
			}
			return true, fmt.Errorf("%s (%s): %s", s.Phase, s.Reason, s.Message)
		}
		if list.Starting {
			return false, nil
		}
		return true, errors.New("the node does not know the job any more")
	})
}

// confirmCmd says yes to a job.
type confirmCmd struct {
	localFlags
	Job string `arg:"" optional:"" help:"The job, NAME or KIND/NAME. Default: the one that waits."`
}

// Help has an example.
func (confirmCmd) Help() string { return "edgectl confirm\nedgectl confirm nightly-upgrade" }

// Run confirms the job.
func (c *confirmCmd) Run(ctx context.Context, out program.Output) error {
	answer, err := c.post(ctx, "api.sock", jobsPath+"/confirm-upgrade", c.Job)
	if err != nil {
		return err
	}
	defer answer.Close()
	var s jobs.Status
	if err := json.NewDecoder(answer).Decode(&s); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s is confirmed\n", s.Kind, s.Name)
	return nil
}

// refuseCmd says no to a job.
type refuseCmd struct {
	localFlags
	Job    string `arg:"" help:"The job, NAME or KIND/NAME."`
	Reason string `help:"Why, for the status of the job." required:"" placeholder:"TEXT"`
}

// Help has an example.
func (refuseCmd) Help() string { return `edgectl refuse nightly-upgrade --reason "the arm is moving"` }

// Run refuses the job.
func (c *refuseCmd) Run(ctx context.Context, out program.Output) error {
	var s jobs.Status
	if err := c.ask(ctx, "/refuse-upgrade", jobs.Refusal{Job: c.Job, Reason: c.Reason}, &s); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s is refused\n", s.Kind, s.Name)
	return nil
}
