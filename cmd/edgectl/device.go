package main

// deviceCmd is the group "edgectl device". Each of its commands has a file of its own.
type deviceCmd struct {
	Get     deviceGet     `cmd:"" help:"List devices with their live values, or print one."`
	Watch   deviceWatch   `cmd:"" help:"Print the values of devices as they come, until interrupted."`
	Set     deviceSet     `cmd:"" help:"Set desired values of a device, and print what its node says to them."`
	Edit    deviceEdit    `cmd:"" help:"On an edge node: set desired values of a device on this node alone, with or without the cloud. The Device in the cloud stays as it is."`
	Convert deviceConvert `cmd:"" help:"Convert Devices and DeviceModels of v1alpha1 and v1alpha2 to v1beta1. What cannot be converted is named on standard error."`
	New     deviceNew     `cmd:"" help:"Write a new mapper into a folder NAME: a driver, its test with a simulated device, a program and a first Device."`
	Adopt   deviceAdopt   `cmd:"" help:"List the devices that a mapper has found, and print those that are named as Devices for 'kubectl apply -f -'."`
	Import  deviceImport  `cmd:"" help:"Make a DeviceModel, and a Device, of a W3C Thing Description or an EdgeX device profile. What cannot be taken over is named on standard error."`
	Export  deviceExport  `cmd:"" help:"Make a W3C Thing Description of a DeviceModel and a Device."`
}

// spaceFlag names the namespace of devices.
type spaceFlag struct {
	Space string `help:"Namespace of the devices." short:"n" name:"in" default:"default" placeholder:"NAMESPACE"`
}
