package probe

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The defaults of a Probe, as the API server fills them in.
const (
	defaultPeriod  = 10 * time.Second
	defaultTimeout = time.Second
)

// Config sets up Run. Probe, Target and Report are required.
type Config struct {
	Probe *corev1.Probe
	// Target says where to ask. It is called before each question, since the
	// address of a container in the host's network may change.
	Target func() Target
	// Started is when the container started: the initial delay counts from it.
	// A start in the future, which a clock that was set back gives, counts as now.
	Started time.Time
	// OK is the outcome that holds until the probe has decided.
	OK bool
	// Report is called with every outcome that passes a threshold and differs
	// from the one before, from Run's goroutine; detail says why.
	Report func(ok bool, detail string)
	// Failed is called for each failing answer, decided or not. It may be nil.
	Failed func(detail string)
	// Warned is called for each good answer with a warning. It may be nil.
	Warned func(detail string)
	// Errored is called when the question could not be put: the runtime did not
	// answer, say. Such a try counts neither for nor against the container. It
	// may be nil.
	Errored func(err error)
	// Answered is called for each answer, good or not. It may be nil.
	Answered func(ok bool)
	// Asked is called after each try, with how long it took. It may be nil.
	Asked func(took time.Duration)
	// UntilOK ends Run with the first good outcome, as a startup probe ends.
	UntilOK bool
	// UntilFailed ends Run with the first bad outcome, as a liveness probe ends:
	// its container is restarted, and the new one is asked anew.
	UntilFailed bool
}

// Run asks until ctx ends, and then returns nil.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Probe == nil || cfg.Report == nil || cfg.Target == nil {
		return errors.New("probe: Config.Probe, Config.Target and Config.Report are required")
	}
	period, timeout := seconds(cfg.Probe.PeriodSeconds, defaultPeriod), seconds(cfg.Probe.TimeoutSeconds, defaultTimeout)
	need := map[bool]int32{true: max(cfg.Probe.SuccessThreshold, 1), false: max(cfg.Probe.FailureThreshold, 1)}
	if cfg.Probe.FailureThreshold == 0 {
		need[false] = 3
	}
	delay := seconds(cfg.Probe.InitialDelaySeconds, 0)
	wait := min(max(time.Until(cfg.Started.Add(delay)), 0), delay)
	decided, current, last, run := false, cfg.OK, false, int32(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		began := time.Now()
		answer, err := Check(ctx, cfg.Probe.ProbeHandler, timeout, cfg.Target())
		wait = max(period-time.Since(began), 0)
		if ctx.Err() != nil {
			return nil
		}
		if cfg.Asked != nil {
			cfg.Asked(time.Since(began))
		}
		if err != nil {
			if cfg.Errored != nil {
				cfg.Errored(err)
			}
			continue
		}
		ok, detail := answer.OK, answer.Detail
		if cfg.Answered != nil {
			cfg.Answered(ok)
		}
		if !ok && cfg.Failed != nil {
			cfg.Failed(detail)
		}
		if answer.Warning && cfg.Warned != nil {
			cfg.Warned(detail)
		}
		if run == 0 || ok != last {
			last, run = ok, 0
		}
		run++
		if run < need[ok] {
			continue
		}
		if !decided || ok != current {
			decided, current = true, ok
			cfg.Report(ok, detail)
		}
		if ok && cfg.UntilOK || !ok && cfg.UntilFailed {
			return nil
		}
	}
}

func seconds(n int32, def time.Duration) time.Duration {
	if n <= 0 {
		return def
	}
	return time.Duration(n) * time.Second
}
