package topology

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// ParseCPUOptions reads the kubelet's cpuManagerPolicyOptions.
func ParseCPUOptions(options map[string]string) (CPUOptions, error) {
	var out CPUOptions
	for _, name := range slices.Sorted(maps.Keys(options)) {
		on, err := strconv.ParseBool(options[name])
		if err != nil {
			return out, fmt.Errorf("%s is %q: use true or false", name, options[name])
		}
		switch name {
		case "full-pcpus-only":
			out.FullCores = on
		case "distribute-cpus-across-numa":
			out.Distribute = on
		case "strict-cpu-reservation":
			out.Strict = on
		case "prefer-align-cpus-by-uncorecache":
			out.AlignCaches = on
		case "align-by-socket", "distribute-cpus-across-cores":
			return out, fmt.Errorf("%s is off by default in Kubernetes 1.37 (alpha) and not supported: leave it out", name)
		default:
			return out, fmt.Errorf("%q is not known: use full-pcpus-only, distribute-cpus-across-numa, strict-cpu-reservation or prefer-align-cpus-by-uncorecache", name)
		}
	}
	return out, nil
}

// ParseAlignment reads the kubelet's topologyManagerPolicyOptions; most 0 means the default.
func ParseAlignment(options map[string]string) (closest bool, most int, err error) {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		text := options[name]
		switch name {
		case "prefer-closest-numa-nodes":
			if closest, err = strconv.ParseBool(text); err != nil {
				return false, 0, fmt.Errorf("%s is %q: use true or false", name, text)
			}
		case "max-allowable-numa-nodes":
			if most, err = strconv.Atoi(text); err != nil || most < 8 {
				return false, 0, fmt.Errorf("%s is %q: use a number from 8 on", name, text)
			}
		default:
			return false, 0, fmt.Errorf("%q is not known: use prefer-closest-numa-nodes or max-allowable-numa-nodes", name)
		}
	}
	return closest, most, nil
}
