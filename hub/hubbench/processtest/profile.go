package processtest

import (
	"os"
	"runtime/pprof"
)

// Profiler writes what a process does, to be read with go tool pprof. Embed it in the
// value that the process serves.
type Profiler struct{ cpu *os.File }

// Watch begins a profile of the CPU, which Profile ends.
func (p *Profiler) Watch(path string, _ *struct{}) (err error) {
	if p.cpu, err = os.Create(path + ".cpu"); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.cpu)
}

// Profile writes the profiles of the heap and of the goroutines.
func (p *Profiler) Profile(path string, _ *struct{}) error {
	if p.cpu != nil {
		pprof.StopCPUProfile()
		if err := p.cpu.Close(); err != nil {
			return err
		}
		p.cpu = nil
	}
	for _, name := range []string{"heap", "goroutine"} {
		f, err := os.Create(path + "." + name)
		if err != nil {
			return err
		}
		if err := pprof.Lookup(name).WriteTo(f, 0); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
