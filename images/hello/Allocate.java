import java.util.ArrayList;
import java.util.List;

/** Allocates 256 MiB in blocks and keeps 16 MiB of it, so that its heap is collected. */
public class Allocate {
    public static void main(String[] arguments) {
        List<byte[]> kept = new ArrayList<>();
        long sum = 0;
        for (int i = 0; i < 4096; i++) {
            byte[] block = new byte[1 << 16];
            block[i % block.length] = (byte) i;
            sum += block[i % block.length];
            if (i % 16 == 0) {
                kept.add(block);
            }
        }
        System.out.println("allocated " + kept.size() + " blocks, sum " + sum);
    }
}
