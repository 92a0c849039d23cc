/* A program of 32 bits that reserves 64 MiB and waits. Without PT_GNU_STACK it is executed with
 * READ_IMPLIES_EXEC. */
	.globl _start
_start:
	mov $192, %eax		/* mmap2(NULL, 64 MiB, PROT_READ|PROT_WRITE, ...) */
	xor %ebx, %ebx
	mov $0x4000000, %ecx
	mov $3, %edx
	mov $0x4022, %esi	/* MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE */
	mov $-1, %edi
	xor %ebp, %ebp
	int $0x80
	mov $29, %eax		/* pause() */
	int $0x80
