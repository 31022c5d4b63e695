package main

// deviceCmd is the group "edgectl device". Each of its commands has a file of its own.
type deviceCmd struct {
	Convert deviceConvert `cmd:"" help:"Convert Devices and DeviceModels of v1alpha1 and v1alpha2 to v1beta1. What cannot be converted is named on standard error."`
	New     deviceNew     `cmd:"" help:"Write a new mapper into a folder NAME: a driver, its test with a simulated device, a program and a first Device."`
	Adopt   deviceAdopt   `cmd:"" help:"List the devices that a mapper has found, and print those that are named as Devices for 'kubectl apply -f -'."`
}
