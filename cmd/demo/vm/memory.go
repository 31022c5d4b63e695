package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The budget of DESIGN: edgecore runs within a memory cgroup of 64 MiB with 10 pods and 100 twins.
const (
	budgetMiB       = 64
	budgetPods      = 10
	budgetDevices   = 10
	twinsOfDevice   = 10
	budgetWatchTime = 2 * time.Minute
)

// unitGroup is the cgroup of edgecore's unit.
const unitGroup = "/sys/fs/cgroup/system.slice/edgecore.service"

// memorySteps run edgecore in 64 MiB, with pods and twins, through a restart.
func memorySteps() []step {
	dropIn := "/run/systemd/system/edgecore.service.d/vm-memory.conf"
	return []step{
		{name: "memory-limit", run: func(ctx context.Context, l *leg) error {
			err := sh("mkdir -p $(dirname "+dropIn+") && printf '[Service]\\nMemoryMax="+strconv.Itoa(budgetMiB)+"M\\nMemorySwapMax=0\\n' > "+dropIn+
				" && systemctl daemon-reload && systemctl restart edgecore && [ \"$(cat "+unitGroup+"/memory.max)\" = "+strconv.Itoa(budgetMiB<<20)+" ]")(ctx, l)
			return errors.Join(err, l.nodeReady(ctx))
		}},
		{name: "memory-10-pods", run: func(ctx context.Context, l *leg) error {
			var all strings.Builder
			for i := range budgetPods {
				all.WriteString(pod{name: fmt.Sprint("small-", i), script: idle}.yaml() + "---\n")
			}
			return errors.Join(l.apply(ctx, all.String()), await(ctx, 10*time.Minute, l.podsRun))
		}},
		{name: "memory-100-twins", run: func(ctx context.Context, l *leg) error {
			if err := l.apply(ctx, budgetDevicesYAML()); err != nil {
				return err
			}
			return await(ctx, 10*time.Minute, l.reportTwins)
		}},
		{name: "memory-restart-with-all", run: func(ctx context.Context, l *leg) error {
			return errors.Join(sh("systemctl restart edgecore")(ctx, l), l.nodeReady(ctx), await(ctx, podLimit, l.podsRun))
		}},
		{name: "memory-within-64-mib", run: func(ctx context.Context, l *leg) error { return l.withinBudget(ctx) }},
		{name: "memory-limit-taken-back", run: func(ctx context.Context, l *leg) error {
			var names []string
			for i := range budgetPods {
				names = append(names, fmt.Sprint("small-", i))
			}
			err := l.deletePods(ctx, names...)
			_, err2 := l.kube.Run(ctx, "", "delete", "device", "-l", "vm=budget", "-n", namespace, "--timeout=120s")
			return errors.Join(err, err2, sh("rm "+dropIn+" && systemctl daemon-reload && systemctl restart edgecore")(ctx, l), l.nodeReady(ctx))
		}},
	}
}

// budgetDevicesYAML is a model and its devices.
func budgetDevicesYAML() string {
	var all strings.Builder
	all.WriteString("apiVersion: devices.kubeedge.io/v1beta1\nkind: DeviceModel\nmetadata: {name: budget, namespace: " + namespace + "}\nspec:\n  protocol: none\n  properties:\n")
	for p := range twinsOfDevice {
		fmt.Fprintf(&all, "  - {name: p%d, type: INT, accessMode: ReadWrite}\n", p)
	}
	for d := range budgetDevices {
		fmt.Fprintf(&all, "---\napiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {name: budget-%d, namespace: %s, labels: {vm: budget}}\nspec:\n"+
			"  deviceModelRef: {name: budget}\n  nodeName: NODE\n  protocol: {protocolName: none}\n  properties:\n", d, namespace)
		for p := range twinsOfDevice {
			fmt.Fprintf(&all, "  - {name: p%d, desired: {value: \"%d\"}, reportToCloud: true, collectCycle: 1000}\n", p, p)
		}
	}
	return all.String()
}

// reportTwins reports a value of each twin on the machine, and checks that the cloud has all.
func (l *leg) reportTwins(ctx context.Context) error {
	var values []string
	for p := range twinsOfDevice {
		values = append(values, fmt.Sprintf(`"p%d":{"actual":{"value":"%d"}}`, p, p))
	}
	body := `{"event_id":"vm","twin":{` + strings.Join(values, ",") + `}}`
	if _, err := l.machine.run(ctx, fmt.Sprintf(`for d in $(seq 0 %d); do mosquitto_pub -p 1884 -q 1 -t '$hw/events/device/%s/budget-'$d'/twin/update' -m '%s' || exit 1; done`, budgetDevices-1, namespace, body)); err != nil {
		return err
	}
	reported := 0
	for d := range budgetDevices {
		var status struct {
			Status struct {
				Twins []struct{ Reported struct{ Value string } }
			}
		}
		if err := l.kube.Get(ctx, &status, "devicestatus", fmt.Sprint("budget-", d), "-n", namespace); err != nil {
			return err
		}
		for _, t := range status.Status.Twins {
			if t.Reported.Value != "" {
				reported++
			}
		}
	}
	if reported != budgetDevices*twinsOfDevice {
		return fmt.Errorf("the cloud has %d twins with a reported value, want %d", reported, budgetDevices*twinsOfDevice)
	}
	return nil
}

// withinBudget watches edgecore for a while: it is not killed, and stays within its cgroup.
func (l *leg) withinBudget(ctx context.Context) error {
	state := "echo $(systemctl show -P MainPID edgecore) $(awk '$1 == \"oom_kill\" {print $2}' " + unitGroup + "/memory.events)"
	before, err := l.machine.run(ctx, state)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := await(ctx, 2*budgetWatchTime, func(ctx context.Context) error {
		if err := l.reportTwins(ctx); err != nil {
			return err
		}
		if left := budgetWatchTime - time.Since(begun); left > 0 {
			return fmt.Errorf("%s are left to watch", left)
		}
		return nil
	}); err != nil {
		return err
	}
	after, err := l.machine.run(ctx, state)
	if err != nil {
		return err
	}
	if pid, kills, ok := strings.Cut(strings.TrimSpace(after), " "); !ok || after != before || kills != "0" {
		return fmt.Errorf("edgecore has process %s and %s kills for memory; it was %q before", pid, kills, strings.TrimSpace(before))
	}
	peak, err := l.number(ctx, "cat "+unitGroup+"/memory.peak")
	if err != nil {
		return err
	}
	anon, err := l.number(ctx, "awk '$1 == \"anon\" {print $2}' "+unitGroup+"/memory.stat")
	if err != nil {
		return err
	}
	fmt.Printf("  edgecore's cgroup had %.1f MiB at most, with files that the kernel can give back; %.1f MiB of it are its own\n", mebibytes(peak), mebibytes(anon))
	l.results.peak = max(l.results.peak, mebibytes(peak))
	if anon > budgetMiB<<20 {
		return fmt.Errorf("%.1f MiB of its own, want at most %d", mebibytes(anon), budgetMiB)
	}
	return nil
}

func mebibytes(bytes int) float64 { return float64(bytes) / (1 << 20) }
