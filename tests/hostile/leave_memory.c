/* Leaves shared memory and a queue of System V behind, which outlive their process. */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>

int main(void)
{
	int memory = shmget(4242, 1 << 20, IPC_CREAT | 0666);
	int queue = msgget(4242, IPC_CREAT | 0666);
	return memory < 0 || queue < 0;
}
