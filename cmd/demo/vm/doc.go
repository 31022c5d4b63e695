// Command vm runs edgecore on a whole machine: an emulated Debian 12 with systemd, cgroup v2,
// its own kernel and a container runtime. The cluster (etcd, kube-apiserver, cloudcore) runs
// outside of the machine, on the host. Everything is installed in the machine the way that the
// README says, with the project's own units.
//
// A leg is one machine, booted from a fresh disk: a containerd (1.6 is Debian's own, 2 is the
// one of cmd/cluster) and its cgroup driver. Each leg runs the parts in this order:
//
//	setup       boots, sets containerd up and installs edgecore and cloudcore; always
//	stock       runs the tests of edged and edged/cgroup that need a stock machine
//	cloudcore   runs cloudcore as its unit: its sandbox, no API server, wrong settings
//	node        joins the cluster; a wrong cgroup driver is reported; the unit's sandbox
//	pods        limits, probes, volumes, resize, logs, exec, Services, DNS, a device twin
//	plugins     a device plugin, a DRA driver (containerd 2), runtime classes
//	pressure    evicts for memory and for disk; an emptyDir that is too large; rotates logs
//	restart     restarts and kills edgecore and containerd: no container restarts
//	memory      runs edgecore in a cgroup of 64 MiB, with 10 pods and 100 twins
//	power       cuts the power three times, starts without a network, reboots in order
//	settings    a kubelet's configuration file, metrics of pods, another address, a shutdown in order
//	end         deletes everything and looks for what is left
//
// Each check ends with a line "ok LEG/NAME" or "FAILED LEG/NAME: why". The last lines are
//
//	RESULT vm_edgecore_mib N MiB     the most that edgecore had resident at the end of a leg
//	RESULT vm_edgecore_cgroup_peak_mib N MiB   the most that its cgroup of 64 MiB had, in the part memory
//	RESULT vm_passed N checks
//	RESULT vm_failed N checks
//
// The short form (--short) has the parts setup, node, pods (limits and cgroups only), plugins,
// restart, power (one cut), settings and end. With --arch arm64 the machine has another processor, which takes
// longer still: only the short form, with Debian's containerd. The programs are cross-compiled.
//
// With --upgrade the machine is a stock one with Debian's containerd, and the parts are
//
//	setup       boots and sets containerd up
//	package     installs the Debian package, checks the machine and joins it by edgectl
//	upgrade     brings the node to another version and back by NodeUpgradeJobs, then again with
//	            the power cut at each step of an upgrade (--cuts)
//	end         deletes everything and looks for what is left
//
// and further last lines are
//
//	RESULT upgrade_cuts N cuts
//	RESULT upgrade_broken N cuts
//	RESULT upgrade_pods_restarted N starts   beyond the one that a cut itself makes
//
// With --keep the machine stays, and --again with its leg runs parts on it once more: for those who
// write a check. The next run without --again removes it.
//
// Beside other work it needs priority: nice -n -5 make vm. The emulator gets the same.
//
// Debian's packages are installed once, in a folder of the user's cache. On a failure the
// machine's serial log and the journals of edgecore and containerd are kept, and named at the end.
package main
